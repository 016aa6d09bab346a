"""How pages look: the style sheet, the pieces of templates, and the environment that the report and the console share.

Loads no numerics. What is shown is escaped by the environment; what came with data goes through `core.text.clean` as well.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from driftsonde.core.look.signs import said_of, sign
from driftsonde.core.text import clean


@cache
def style(name: str = "look.css", package: str = __package__) -> Markup:
    """Return a style sheet of ours, as it stands between `<style>` and `</style>`."""
    return Markup(_read(package, name))


def style_source(sheet: Markup) -> str:
    """Return what a Content-Security-Policy calls a style sheet that may stand in a page."""
    return f"'sha256-{b64encode(sha256(sheet.encode()).digest()).decode()}'"


def environment(package: str) -> Environment:
    """Return an environment for the templates of a package; those of this one can be imported by them."""

    def load(name: str) -> str:
        return _read(__package__ if name == "parts.html.j2" else package, name)

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(load))
    made.filters["clean"] = clean
    made.globals |= {"sign": sign, "said_of": said_of, "style": style()}
    return made


def _read(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text("utf-8")
