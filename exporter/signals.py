"""Signals that come before a command knows what they mean to it: they wait, nothing is lost and nobody dies of them."""

import signal

_HELD = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


def hold() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release() -> None:
    """Those that came are delivered at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
