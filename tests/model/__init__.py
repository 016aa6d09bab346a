"""A model of the protocol, and random crashes in it: `make model`."""
