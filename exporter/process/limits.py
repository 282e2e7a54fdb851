"""The limits of this process on open files and memory, and the memory that it keeps for itself."""

import re
import resource
from contextlib import suppress
from math import inf
from pathlib import Path

#: A block just below the largest one that raises glibc's mmap threshold: DEFAULT_MMAP_THRESHOLD_MAX in
#: malloc/malloc.c is 32 MiB.
_LARGE_BLOCK = 31 << 20

_DATA = re.compile(r"VmData:\s*(\d+) kB")


def fd_limit() -> float:
    """The soft limit on open files (RLIMIT_NOFILE), infinity if there is none."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return inf if soft == resource.RLIM_INFINITY else soft


def raise_fd_limit() -> None:
    """Raise the soft limit to the hard limit. A shell usually sets the soft limit to 1024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError):  # macOS reports no limit and still refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_freed_memory() -> None:
    """Free one large block: from then on glibc keeps what threads free for the next window, instead of returning it to
    the system. A new page costs 3 µs on a virtual machine.
    """
    bytes(_LARGE_BLOCK)


def limit_growth(size: int) -> None:
    """Let this process allocate `size` more bytes at most. Beyond that an allocation raises MemoryError.

    The size of a hostile body does not show how much memory it needs. On Linux this is the private writable memory
    (RLIMIT_DATA). Elsewhere there is no limit.
    """
    with suppress(OSError, ValueError):
        found = _DATA.search(Path("/proc/self/status").read_text())
        if found is not None:
            limit = int(found[1]) * 1024 + size
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
