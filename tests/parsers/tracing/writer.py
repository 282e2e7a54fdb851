"""The receiver's own writer, with a log in memory."""

from collections import Counter
from collections.abc import Iterable

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.snapshot import Snapshot
from exporter.receive.fact_log import FactLog
from exporter.receive.runs import WAIT_SECONDS
from exporter.wsgi.log_file import LogFile
from parsers.batch import Batch
from parsers.dify import Dify
from parsers.tracing import Reading


class _Memory(LogFile):
    """`lines` are those that were written."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        super().__init__("")
        self.lines = list(lines)

    def append(self, lines: bytes) -> int:
        self.lines += lines.splitlines(keepends=True)
        return len(lines)


class Writer:
    """`lines` is the log, `now` the time in seconds."""

    def __init__(self, lines: Iterable[bytes] = (), now: float = 0) -> None:
        """`lines` are those of a log that exists, as after a restart."""
        self.now = now
        self._file = _Memory(lines)
        self._facts = FactLog(self._file, clock=lambda: self.now)
        self._facts.find_again(reversed(self.lines))

    @property
    def lines(self) -> list[bytes]:
        return self._file.lines

    def take(self, reading: Reading) -> None:
        assert self._facts.write(reading)

    def wait(self) -> None:
        """Nothing more comes for as long as a run can wait."""
        self.now += WAIT_SECONDS
        self._facts.every_second()
        self.lines.pop()  # the heartbeat

    @property
    def outcomes(self) -> Counter[tuple[str, str]]:
        """The items by dialect and outcome, as the next heartbeat would count them."""
        return Counter(self._facts._items)


def counted(lines: Iterable[bytes]) -> Snapshot:
    """Count lines as the exporter does, in small windows."""
    ledger, log = Ledger(Limits(), lambda: 2e9, is_stored=False), list(lines)
    for begin in range(0, len(log), 50):
        ledger.enter("dify", Dify().parse(b"".join(log[begin : begin + 50])))
    return ledger.snapshot(None)


def batch_of(lines: Iterable[bytes]) -> Batch:
    return Dify().parse(b"".join(lines))


def tokens(snapshot: Snapshot) -> dict[tuple[str, ...], int]:
    """Tokens by app, model and type."""
    found: Counter[tuple[str, ...]] = Counter()
    for (_, app_id, _, model, token_type), count in snapshot.counters[c.TOKENS_USED].items():
        found[app_id, model, token_type] += int(count)
    return dict(found)
