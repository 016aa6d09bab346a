"""Builds the images; where none can be pulled, also what they, and docker-compose.yml, begin with."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .engine import NoEngine, docker

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
BASE = "python:3.11-slim-bookworm"
OURS = {name: f"services/{name}/Dockerfile" for name in ("detector", "retrainer", "notifier")} | {
    "steps": "services/retrainer/steps.Dockerfile", "local": "deploy/local/Dockerfile",
}  # fmt: skip
OTHERS = {"nats:2.12": "nats", "postgres:17": "postgres", "prom/prometheus:v3.5.0": "prometheus"}
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def build() -> dict[str, int]:
    """Build every image of ours; returns their sizes in bytes, the base included, and the base's."""
    if not _there(BASE):
        _make_base()
    sizes = {BASE: _size(BASE)}
    for name, file in OURS.items():
        print(f"  building driftsonde-{name} …", flush=True)
        docker("build", "--quiet", "--file", file, "--tag", f"driftsonde-{name}", str(ROOT))
        sizes[f"driftsonde-{name}"] = _size(f"driftsonde-{name}")
    return sizes


def provide_others() -> list[str]:
    """Have the images that docker-compose.yml takes from others; returns those that a stand-in takes the place of."""
    stood_in = []
    for tag, name in OTHERS.items():
        if not _there(tag):
            print(f"  {tag} cannot be pulled; making a stand-in …", flush=True)
            _stand_in(tag, name)
        if docker("image", "inspect", "--format", '{{index .Config.Labels "driftsonde.stand-in"}}', tag) == "true":
            stood_in.append(tag)
    return stood_in


def table(sizes: dict[str, int]) -> str:
    """Return the sizes as a table for people."""
    base = sizes[BASE]
    lines = [
        f"  {name:<24}{size / 1e6:>8.0f} MB, {(size - base) / 1e6:.0f} MB without {BASE}" for name, size in sizes.items() if name != BASE
    ]
    return "\n".join(lines)


def _there(tag: str) -> bool:
    if docker("image", "inspect", "--format", "{{.Id}}", tag, check=False, quiet=True):
        return True
    docker("pull", "--quiet", tag, check=False, quiet=True)
    return bool(docker("image", "inspect", "--format", "{{.Id}}", tag, check=False, quiet=True))


def _size(tag: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", tag))


def _make_base() -> None:
    """Make Debian with its Python, tagged like the official image.

    Raises:
        NoEngine: if that cannot be made here.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise NoEngine(f"{BASE} cannot be pulled, and there is no `mmdebstrap` to make a stand-in of it")
    print(f"  {BASE} cannot be pulled; making a stand-in from Debian's packages …", flush=True)
    bundle = f"--customize-hook=copy-in {_CERTIFICATES} {_CERTIFICATES.parent}"
    command = [program, "--variant=minbase", "--include=python3,python3-venv,ca-certificates", bundle, "bookworm", "-"]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as making:
        assert making.stdout is not None
        # Where this machine's own certificates are needed, pip and uv need them inside as well.
        docker("import", "--change", f"ENV SSL_CERT_FILE={_CERTIFICATES} PIP_CERT={_CERTIFICATES}", "-", BASE, stdin=making.stdout)
        if making.wait():
            log.seek(0)
            raise NoEngine(f"mmdebstrap failed: {log.read().decode(errors='replace')[-1000:]}")


def _stand_in(tag: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file in STAND_INS.iterdir():
            shutil.copy(file, folder)
        shutil.copy(Path(sys.executable).parent / "nats-server", folder)
        docker("build", "--quiet", "--label", "driftsonde.stand-in=true", "--file", f"{folder}/{name}.Dockerfile", "--tag", tag, folder)
