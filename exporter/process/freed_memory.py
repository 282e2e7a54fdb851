"""Lets glibc keep the memory that a window has used for the next one: a new page costs 3 µs on a virtual machine."""

#: A block just below the largest one that raises glibc's mmap threshold: DEFAULT_MMAP_THRESHOLD_MAX in
#: malloc/malloc.c is 32 MiB.
_LARGE_BLOCK = 31 << 20


def keep_freed_memory() -> None:
    """Free one large block: from then on glibc keeps what threads free, instead of returning it to the system."""
    bytes(_LARGE_BLOCK)
