"""Reads what is secret from the files, or variables, that the configuration names; nothing of it is in any message."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from driftsonde.core.errors import ConfigError
from driftsonde.core.given import is_variable, read_given

_MAX_BYTES: Final = 4096


def read_url(key: str, path: Path) -> str:
    """Read a webhook address from its file; neither the address nor a part of it is in any message.

    Raises:
        ConfigError: naming the channel's key and the file.
    """
    if ":/" in str(path):  # an address pasted where its file belongs must not be printed as a path
        raise ConfigError(f"{key}: is an address itself; store it in a file and name the file here")
    return _one_word(key, path, str(path), "URL")


def read_secret(key: str, path: Path, *, least: int = 1) -> str:
    """Read a token, key or password from its file.

    Args:
        key: the channel's key, for messages.
        path: the file.
        least: characters that it must have.

    Raises:
        ConfigError: naming the key, and the file unless its name could be the secret itself.
    """
    shown = str(path) if path.is_absolute() or is_variable(path) or path.exists() else "the file that it names"
    found = _one_word(key, path, shown, "secret")
    if len(found) < least:
        raise ConfigError(f"{key}: {shown} must hold at least {least} characters")
    return found


def _one_word(key: str, path: Path, shown: str, what: str) -> str:
    try:
        text = read_given(path, _MAX_BYTES + 1).decode("ascii").strip()
    except OSError as exc:
        raise ConfigError(f"{key}: cannot read {shown}: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {shown} does not hold a {what}") from None
    if not text or len(text) >= _MAX_BYTES or len(text.split()) != 1:
        raise ConfigError(f"{key}: {shown} must hold one {what} and nothing else")
    return text
