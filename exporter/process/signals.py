"""SIGHUP, SIGTERM and SIGINT. `serve` blocks them and waits for them; they end all other commands by an exception.

While they are blocked no handler runs, so no signal is lost or interrupts a lock holder.
"""

import signal
import time
from types import FrameType

_RELOAD = signal.SIGHUP
BLOCKED = {_RELOAD, signal.SIGTERM, signal.SIGINT}


class EndedError(Exception):
    """SIGTERM or SIGINT has arrived."""


class InterruptedCommand(KeyboardInterrupt):
    """A signal ends the command. `code` is the exit code that shells use for this signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def exit_code(error: KeyboardInterrupt) -> int:
    return error.code if isinstance(error, InterruptedCommand) else 128 + signal.SIGINT


def set_handlers() -> None:
    """Let SIGHUP and SIGTERM raise KeyboardInterrupt, as SIGINT does. A signal that the parent ignores stays ignored.

    The signals are BLOCKED from the start of the process: they stay pending until `wait_for_reload` or `unblock`.
    """
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    for each in (signal.SIGHUP, signal.SIGTERM):  # a closed terminal sends SIGHUP twice; the cleanup must not end early
        signal.signal(each, signal.SIG_IGN)
    raise InterruptedCommand(number)


def unblock() -> None:
    """Deliver pending signals at once, for commands that do not wait for signals themselves."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


def wait_for_reload(within: float | None) -> bool:
    """Wait for a signal for at most `within` seconds (None: without limit), and report whether it is SIGHUP.

    Raises EndedError for SIGTERM and SIGINT. There is no signal handler on purpose: a handler that sets an Event can
    interrupt code that holds the lock of that Event.
    """
    if within is not None and not BLOCKED & signal.sigpending():
        time.sleep(within)
    if within is not None and not BLOCKED & signal.sigpending():
        return False
    if signal.sigwait(BLOCKED) != _RELOAD:
        raise EndedError
    return True
