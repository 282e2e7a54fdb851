"""Fairness between the requests of a worker: gevent switches greenlets only when one waits."""

import time

import gevent

_MAX_RUN_SECONDS = 0.02
_MIN_SLEEP_SECONDS = 1e-6  # with 0 the event loop would not poll the sockets


class _CpuYielder:
    def __init__(self) -> None:
        self._yielded_at = 0.0

    def yield_cpu(self) -> None:
        if time.monotonic() - self._yielded_at > _MAX_RUN_SECONDS:
            gevent.sleep(_MIN_SLEEP_SECONDS)
            self._yielded_at = time.monotonic()


#: Let the other greenlets run if this worker has not done so for 20 ms. Call it in each loop over bytes that may
#: already be in memory: gunicorn kills a worker that does not yield for 30 s, with all its requests.
yield_cpu = _CpuYielder().yield_cpu
