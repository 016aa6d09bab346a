"""The console: what the detector knows, as pages for people. Read-only; nothing in it is executed, nothing is loaded from anywhere.

`asked` reads rows, `model` says what is shown, `pages` makes one of the other, `html` writes it, `served` answers requests.
Reports are those of `core.report`, from the detector's own store (`source`).
"""
