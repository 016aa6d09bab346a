"""The fault campaign: `make fault`. One file for each fault of the table in docs/guarantees.md; real processes, a verifier outside them."""
