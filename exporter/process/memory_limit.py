"""A limit on the memory of this process. The size of a hostile body does not show how much memory it needs."""

import re
import resource
from contextlib import suppress
from pathlib import Path

_DATA = re.compile(r"VmData:\s*(\d+) kB")


def limit_growth(size: int) -> None:
    """Let this process allocate `size` more bytes at most. Beyond that an allocation raises MemoryError.

    On Linux this is the private writable memory (RLIMIT_DATA). Elsewhere there is no limit.
    """
    with suppress(OSError, ValueError):
        found = _DATA.search(Path("/proc/self/status").read_text())
        if found is not None:
            limit = int(found[1]) * 1024 + size
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
