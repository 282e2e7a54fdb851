"""How many files this process may have open: its logs, its connections and its state share them."""

import resource
from contextlib import suppress
from math import inf


def most() -> float:
    """The limit as it is now."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return inf if soft == resource.RLIM_INFINITY else soft


def allow_many() -> None:
    """As many as the process may have, rather than the shell's usual 1024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError):  # macOS says "no limit" and means one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
