"""One file for each threat of the threat model: what is promised, and that it holds."""
