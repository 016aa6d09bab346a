"""The report: one self-contained HTML file about an episode, or about one window.

`gather` asks the detector's read API; from there on everything is pure: `model` says what is shown, `pictures` draws it, `page`
writes the file. Nothing in it is executed, and nothing is loaded from anywhere.
"""
