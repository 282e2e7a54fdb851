"""Signals wait until somebody asks for them: none is lost however early it comes, none interrupts who holds a lock."""

import signal
import time

_RELOAD = signal.SIGHUP
_HELD = {_RELOAD, signal.SIGTERM, signal.SIGINT}


class EndedError(Exception):
    """SIGTERM or SIGINT has come."""


def hold() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release() -> None:
    """For a command that asks for none: those that came are delivered at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def asks_to_reload(within: float | None) -> bool:
    """Whether SIGHUP has come, after so many seconds at most. Raises EndedError.

    Nothing but this waits for signals: a handler that sets an Event may find the Event's own lock held below it.
    """
    if within is not None and not _HELD & signal.sigpending():
        time.sleep(within)
    if within is not None and not _HELD & signal.sigpending():
        return False
    if signal.sigwait(_HELD) != _RELOAD:
        raise EndedError
    return True
