"""Whether a second model fits beside the first: better refused than ended by the kernel with both."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inference.artefact import Manifest
from schema.errors import ArtefactError

TIMES_FILES: Final = 3
"""Bytes of memory per byte of a served file: mapped, unpacked, and again while it is being loaded."""
ROOM: Final = 48 << 20
"""Bytes for what grows with the first answers, and for the answers in flight."""
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


def require_memory(manifest: Manifest) -> None:
    """Fail where the artefact of `manifest` does not fit into the memory that is left.

    Raises:
        ArtefactError: it does not; the message says how much is missing.
    """
    needed = ROOM + TIMES_FILES * sum(entry.size for entry in manifest.files.values() if entry.role == "serving")
    left = memory_left()
    if left is not None and needed > left:
        raise ArtefactError(
            f"{manifest.version} needs {needed >> 20} MB of memory beside what is loaded, and {left >> 20} MB are left"
        )


def memory_left() -> int | None:
    """Bytes that this process may still take: of the machine and of its control group (v2); None where nobody tells."""
    found = [left for left in (_machine(), _control_group()) if left is not None]
    return min(found, default=None)


def _machine() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _control_group() -> int | None:
    try:
        most = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        now = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        reclaimable = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else int(most) - now + int(reclaimable.get("inactive_file", 0))
