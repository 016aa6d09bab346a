"""Unpacks archives that somebody else made."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path


def unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack into a folder; nothing lands outside of it.

    Raises:
        tarfile.TarError: if something would, or is neither file nor folder.
    """
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    for member in tar.getmembers():  # Python before 3.11.4, such as Debian 12's
        target = folder / member.name
        content = tar.extractfile(member) if member.isfile() else None
        if not target.resolve().is_relative_to(folder.resolve()) or (content is None and not member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is no file of the archive's own")
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
