"""The same counts by many workers: objects are cut into runs, each run gives bytes, and the bytes are merged in the runs' order."""
