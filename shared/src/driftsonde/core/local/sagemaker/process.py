"""A job's program as a child process group that can be found and ended, even by the next control plane.

The child holds a lock on `<home>/lock` for as long as it lives and writes its own number to `<home>/pid` before it becomes
the program. So a control plane that was killed at any moment leaves enough behind: while the lock is held somebody still
works on the job, and the number says whom to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAUNCHER = 'echo $$ > "$0" && exec "$@"'
_POLL = 0.05


class Child:
    """One running program and everything it started.

    Args:
        process: the leader of the process group.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, process: asyncio.subprocess.Process, grace: float) -> None:
        self._process = process
        self._grace = grace

    @classmethod
    async def start(cls, argv: Sequence[str], *, env: Mapping[str, str], home: Path, cwd: Path, grace: float) -> Child:
        """Start `argv` in `cwd`; its output is appended to `<home>/log.txt`.

        Raises:
            BlockingIOError: if another program still works on this job.
        """
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with (home / "log.txt").open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    "/bin/sh", "-c", _LAUNCHER, str(home / "pid"), *argv,
                    env=env, cwd=cwd, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True, pass_fds=(lock,),
                )  # fmt: skip
        finally:
            os.close(lock)  # the child's copy keeps it locked
        return cls(process, grace)

    @property
    def alive(self) -> bool:
        """Whether the program has not ended."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for the program, then end what it left running; return its exit code."""
        try:
            return await self._process.wait()
        finally:
            # Shielded, because the usual reason to be here early is a cancellation, and the group must not survive it.
            await asyncio.shield(self.end())

    async def end(self) -> None:
        """SIGTERM to the group, SIGKILL after the grace."""
        if self.alive:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self._grace)
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def reap(home: Path, *, seconds: float = 10.0) -> None:
    """End the program that an earlier control plane left at work in `home`, if any.

    Raises:
        TimeoutError: if it does not end.
    """
    path = home / "lock"
    if not path.exists():
        return
    async with asyncio.timeout(seconds):
        with path.open("rb") as lock:
            while not _try_lock(lock.fileno()):
                with contextlib.suppress(OSError, ValueError):  # the child may not have written its number yet
                    os.killpg(int((home / "pid").read_text()), signal.SIGKILL)
                await asyncio.sleep(_POLL)
    (home / "pid").unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
