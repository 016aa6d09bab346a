"""What settings name by its place: a file, or a variable of the environment where nothing mounts files (ECS).

`env:NAME` stands for what the variable NAME holds, `env:NAME/key` for one text of the JSON object in it. ECS puts whole secrets,
or parts of them, into variables, and has nothing like a mounted secret or ConfigMap.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Final

_PREFIX: Final = "env:"


def is_variable(path: Path) -> bool:
    """Whether a path stands for a variable."""
    return str(path).startswith(_PREFIX)


def read_given(path: Path, most: int) -> bytes:
    """Return the first bytes of a file or variable, at most `most`.

    Raises:
        OSError: if there is none; its text names no content.
    """
    if not is_variable(path):
        with path.open("rb") as file:
            return file.read(most)
    name, _, key = str(path).removeprefix(_PREFIX).partition("/")
    if name not in os.environ:
        raise FileNotFoundError(errno.ENOENT, "the variable is not set", str(path))
    text = os.environ[name]
    return (_text_of(text, key, path) if key else text).encode(errors="surrogateescape")[:most]


def _text_of(text: str, key: str, path: Path) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise OSError(errno.EINVAL, "the variable holds no JSON", str(path)) from None
    if not isinstance(found, dict) or not isinstance(found.get(key), str):
        raise OSError(errno.EINVAL, "the variable's JSON has no such text", str(path))
    return str(found[key])
