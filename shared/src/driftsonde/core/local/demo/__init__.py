"""The demo: what it sends, what it waits for, what it shows. `core.cli.demo` is its command."""
