"""The receiver's writer as `parsers.tracing.reading.Fact` describes it, in memory."""

from collections import Counter
from collections.abc import Iterable

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.snapshot import Snapshot
from parsers.batch import Batch
from parsers.dify import Dify
from parsers.tracing import Fact, Reading, keys_of


class Writer:
    """`lines` is the log; `outcomes` counts the items by dialect and outcome, as the heartbeat does."""

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        """`lines` are those of a log that exists, as after a restart."""
        self.lines = list(lines)
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._known = {key for line in self.lines for key in keys_of(line)}
        self._aliases: dict[str, str] = {}

    def take(self, reading: Reading) -> None:
        for fact in reading.facts:
            self.outcomes[fact.dialect, "written" if self._write(fact) else "duplicate"] += 1
        for outcome, counts in (("ignored", reading.ignored), ("rejected", reading.rejected)):
            for dialect, count in counts.items():
                self.outcomes[dialect, outcome] += count

    def _write(self, fact: Fact) -> bool:
        if fact.alias:
            key, other = fact.alias
            self._aliases[key] = other
            if not self._known.isdisjoint(fact.alias):
                self._known |= {key, other}
        key = self._aliases.get(fact.key, fact.key)
        if key not in self._known:
            self.lines.append(fact.line)
            self._known |= {key, fact.key, *([fact.rest.key] if fact.rest else [])}
            return True
        if fact.rest and fact.rest.key not in self._known:
            self.lines.append(fact.rest.line)
            self._known.add(fact.rest.key)
            return True
        return False


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
