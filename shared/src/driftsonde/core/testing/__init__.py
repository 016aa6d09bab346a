"""Fakes and conformance suites that ship with the project, one per port: tests need no patching."""
