"""A browser shows the report in dark, in light and on a telephone, complains of nothing and asks nobody."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from unit.core.report.hostile import PAYLOADS
from unit.core.report.support import example, page_of
from unit.core.report.test_hostile_names import AT_ONCE, page_with

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"), pytest.mark.slow]
SIZES = {"light": ("1", "1100,2400"), "dark": ("0", "1100,2400"), "phone": ("1", "390,2400")}


def shot(page: str, folder: Path, *, scheme: str = "1", size: str = "1100,2400") -> tuple[tuple[int, int], list[str]]:
    """Return the size of a screenshot, and what the browser's console said."""
    source, picture = folder / "report.html", folder / "report.png"
    source.write_text(page, encoding="utf-8")
    assert CHROMIUM is not None
    ended = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={size}", f"--screenshot={picture}",
            source.as_uri(),
        ],
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return (width, height), [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("kind", SIZES)
def test_browser_shows_the_report_without_complaint(kind: str, tmp_path: Path) -> None:
    scheme, size = SIZES[kind]
    found, console = shot(page_of(example()), tmp_path, scheme=scheme, size=size)
    assert found == tuple(map(int, size.split(",")))
    assert console == []
    assert (tmp_path / "report.png").stat().st_size > 50_000  # an empty page has a few thousand bytes


def test_browser_runs_nothing_of_hostile_names(tmp_path: Path) -> None:
    for first in (0, 120):
        assert shot(page_with(PAYLOADS[first : first + AT_ONCE]), tmp_path)[1] == []


def test_browser_would_complain_of_a_script(tmp_path: Path) -> None:
    page = page_of(example()).replace("</main>", "<script>alert(1)</script><img src=https://evil.test/x></main>")
    console = "\n".join(shot(page, tmp_path)[1])
    assert "Content Security Policy" in console
    assert "evil.test" in console
