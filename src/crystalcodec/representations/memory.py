"""How much memory is free."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory"]

_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this process can still take without pushing others out.

    What the kernel calls available, or what the control group of a container or a batch job
    leaves where that is less; where neither tells, all of the machine's memory.
    """
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line[:13] == "MemAvailable:")
    except (OSError, StopIteration, ValueError):
        pass
    try:
        most = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        # Files that the kernel keeps in memory count as used there, and go when asked for.
        kept = (_CGROUP / "memory.stat").read_text(encoding="ascii").split("inactive_file ")[1]
        return max(0, min(free, most - used + int(kept.split()[0])))
    except (OSError, IndexError, ValueError):
        return free
