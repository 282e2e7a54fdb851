"""The limit on open files of this process. Its logs, its connections and its state share it."""

import resource
from contextlib import suppress
from math import inf


def fd_limit() -> float:
    """The soft limit on open files (RLIMIT_NOFILE), infinity if there is none."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return inf if soft == resource.RLIM_INFINITY else soft


def raise_fd_limit() -> None:
    """Raise the soft limit to the hard limit. A shell usually sets the soft limit to 1024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError):  # macOS reports no limit and still refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
