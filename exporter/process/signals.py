"""Signals are blocked and waited for. There are no handlers, so no signal is lost or interrupts a lock holder."""

import signal
import time

_RELOAD = signal.SIGHUP
_BLOCKED = {_RELOAD, signal.SIGTERM, signal.SIGINT}


class EndedError(Exception):
    """SIGTERM or SIGINT has arrived."""


def block() -> None:
    """Block SIGHUP, SIGTERM and SIGINT: they stay pending until `wait_for_reload` or `unblock`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)


def unblock() -> None:
    """Deliver pending signals at once, for commands that do not wait for signals themselves."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)


def wait_for_reload(within: float | None) -> bool:
    """Wait for a signal for at most `within` seconds (None: without limit), and report whether it is SIGHUP.

    Raises EndedError for SIGTERM and SIGINT. There is no signal handler on purpose: a handler that sets an Event can
    interrupt code that holds the lock of that Event.
    """
    if within is not None and not _BLOCKED & signal.sigpending():
        time.sleep(within)
    if within is not None and not _BLOCKED & signal.sigpending():
        return False
    if signal.sigwait(_BLOCKED) != _RELOAD:
        raise EndedError
    return True
