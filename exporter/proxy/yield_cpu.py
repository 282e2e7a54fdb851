"""Turns of the requests that a worker holds: gevent gives others one only where somebody has to wait."""

import time

import gevent

_LONGEST = 0.02
_A_MOMENT = 1e-6  # with 0 the sockets would not be looked at


class _Turns:
    def __init__(self) -> None:
        self._given = 0.0

    def yield_cpu(self) -> None:
        if time.monotonic() - self._given > _LONGEST:
            gevent.sleep(_A_MOMENT)
            self._given = time.monotonic()


#: To be called where bytes that are there already could keep a request busy: lets all others go on now and then.
#: A worker that did not for 30 s would be killed with all that it holds.
yield_cpu = _Turns().yield_cpu
