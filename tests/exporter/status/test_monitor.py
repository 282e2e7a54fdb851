"""What the status page says that a log lacks: it depends on all that the state knows, not on the lines since the start."""

from pathlib import Path

import pytest

from exporter.config.loader import load
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import State
from exporter.metrics.exemplars import Exemplars
from exporter.status.monitor import Lifecycle, StatusMonitor
from exporter.tail.position import Position, Window
from exporter.tail.source import Source
from exporter.tail.source_config import SourceOptions
from parsers import batch as b

API, WORKER = "set ENABLE_REQUEST_LOGGING=true", "only a worker logs them"
PROXY, RECEIVER = "no response through the proxy reported any", "nothing that was received has any"
ADVICE, ERROR = (API, WORKER, PROXY, RECEIVER), b.Failure("other")


@pytest.mark.parametrize(
    ("before", "since", "said"),
    [
        ((), (), ()),
        ((ERROR,), (), (API, WORKER)),
        ((b.Request("GET", "/v1/info", "200"),), (ERROR,), (WORKER,)),
        ((b.Task("tasks.x", "succeeded"),), (), ()),
        ((b.TaskReceived("tasks.x"),), (ERROR,), ()),
        ((b.Run("workflow", "a", "succeeded"),), (ERROR,), ()),
        ((b.Active("w", 0, 10**18), b.Request("GET", "/v1/info", "200")), (), (PROXY,)),
        ((b.ReceivedItems("otel", "written", 1),), (ERROR,), (RECEIVER,)),
        ((b.ReceivedItems("otel", "written", 1), b.Usage("a", "p", "m", 5)), (ERROR,), ()),
    ],
)
def test_advice_after_a_restart(
    tmp_path: Path, before: tuple[b.Record, ...], since: tuple[b.Record, ...], said: tuple[str, ...]
) -> None:
    file = tmp_path / "exporter.toml"
    file.write_text('[[source]]\nname = "a"\npaths = ["a.log"]\nparser = "dify"\n')
    config = load(file)
    first, second = Ledger(Limits(), lambda: 1e9), Ledger(Limits(), lambda: 1e9)
    first.open("a")
    first.enter("a", b.Batch(lines=len(before), records=before))
    state = State()
    state.update(first.changes())
    second.restore(state, ["a"])
    second.open("a")
    source = Source(SourceOptions(config.sources[0]), second, lambda: 0.0)
    monitor = StatusMonitor(second, [source], Exemplars(Limits(), {}), lambda: True)
    window = Window("a", "f", Position("a.log", 1, 0, 0), b"x" * len(since))
    monitor.observed_ledger(config.sources[0]).post(window, b.Batch(len(since), len(since), records=since))
    missing = monitor.status(config, Lifecycle(True, "", (), 0.0), "24h").missing
    assert tuple(each for each in ADVICE if each in " ".join(missing)) == said
