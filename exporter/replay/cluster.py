"""Parses pieces of logs on a Dask cluster. This is the only module that loads Dask."""

import logging
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from msgspec import structs

from exporter import __version__
from exporter.messages import address
from exporter.replay.errors import InputError, WorkersError
from exporter.replay.inputs import Input
from exporter.replay.pieces import Piece, Plan, Result, packages, parse_piece, version
from exporter.replay.workers import Workers

#: How many seconds the scheduler and the first worker may take, also if they were lost in between.
_PATIENCE = 15.0

#: How often it is looked whether the cluster still works, in seconds.
_LOOK = 1.0


class ClusterWorkers(Workers):
    """The workers of a cluster. A piece that is lost with its worker is parsed again by another one."""

    piece_size = 1 << 26

    def __init__(self, client: Any, scheduler: str) -> None:
        super().__init__(lambda: client.get_executor(pure=False), 1)
        self._client, self._scheduler = client, scheduler
        self._seen_at = time.monotonic()
        self._look()

    def takes(self, log: Input, is_only: bool) -> bool:
        return not log.is_stream

    def located(self, plan: Plan, log: Input) -> Plan:
        return structs.replace(plan, version=version(plan.file))

    def submit(self, plan: bytes, piece: Piece) -> "Future[Result]":
        # A worker that cannot load a function is lost to all users of the cluster. Every worker has `pickle.loads`.
        call = pickle.dumps(_Call(parse_piece, (packages(), plan, piece)))
        return self._executor.submit(pickle.loads, call)

    def result(self, future: "Future[Result]") -> Result:
        while True:
            try:
                return future.result(_LOOK)
            except (InputError, WorkersError):
                raise
            except CancelledError:
                raise self._lost("the scheduler is gone") from None
            except ModuleNotFoundError as error:
                raise WorkersError(
                    f"{self._scheduler}: a worker has no module {error.name}: install dify-exporter {__version__} "
                    "and all packages with parsers on each worker"
                ) from None
            except TimeoutError:
                self._look()
            except Exception as error:  # Dask's own, such as KilledWorker
                reason = address(f"{type(error).__name__}: {error}")
                raise WorkersError(f"{self._scheduler}: a piece was not parsed: {reason}") from None

    def _look(self) -> None:
        """Raises WorkersError if the scheduler is gone, or if it has had no worker for a while."""
        try:
            threads = self._client.nthreads()
        except Exception:
            raise self._lost("the scheduler is gone") from None
        if threads:
            self._processors, self._seen_at = sum(threads.values()), time.monotonic()
        elif time.monotonic() - self._seen_at > _PATIENCE:
            raise self._lost(f"it has had no worker for {_PATIENCE:.0f} s")

    def _lost(self, reason: str) -> WorkersError:
        return WorkersError(f"{self._scheduler}: {reason}; there is no result")


@contextmanager
def connected(scheduler: str) -> Iterator[Workers]:
    """The workers of the scheduler at an address. Raises WorkersError."""
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise WorkersError("--cluster: Dask is missing: install dify-exporter[cluster]") from None
    try:
        get_address_host_port(scheduler, strict=True)
    except ValueError:  # its text quotes a password that the address may hold
        raise WorkersError("--cluster: expected the address of a scheduler of Dask, such as tcp://HOST:8786") from None
    with ExitStack() as closing:
        logging.disable()  # Dask logs lost connections with their tracebacks
        closing.callback(logging.disable, logging.NOTSET)
        try:
            client: Any = Client(scheduler, timeout=_PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError, TimeoutError) as error:
            raise WorkersError(f"--cluster {scheduler}: no scheduler of Dask answers there: {error}") from None
        closing.callback(client.close, timeout=1)
        yield ClusterWorkers(client, scheduler)


class _Call(NamedTuple):
    """A call of a function that happens when it is unpickled."""

    function: Callable[..., Result]
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Callable[..., Result], tuple[Any, ...]]:
        return self.function, self.arguments
