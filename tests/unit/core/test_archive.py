"""Archives of models: what is in them lands below the folder, or nowhere."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from driftsonde.core.archive import unpack


@pytest.fixture(params=["this Python", "a Python before 3.11.4"], autouse=True)
def _python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "this Python":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


def archive(*members: tarfile.TarInfo) -> tarfile.TarFile:
    """An archive of files that hold `x`, and of what else is asked for."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for member in members:
            member.size = 1 if member.isfile() else 0
            tar.addfile(member, io.BytesIO(b"x"))
    sink.seek(0)
    return tarfile.open(fileobj=sink)


def test_files_and_folders_land_below_the_folder(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("code")
    folder.type = tarfile.DIRTYPE
    unpack(archive(tarfile.TarInfo("model.json"), folder, tarfile.TarInfo("code/run.py")), tmp_path)
    assert (tmp_path / "model.json").read_text() == (tmp_path / "code" / "run.py").read_text() == "x"


@pytest.mark.parametrize("name", ["../outside", "a/../../outside"])
def test_file_that_would_land_outside_is_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(tarfile.TarError):
        unpack(archive(tarfile.TarInfo(name)), inside)
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_link_to_the_outside_and_device_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("odd")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(tarfile.TarError):
        unpack(archive(member), tmp_path)
