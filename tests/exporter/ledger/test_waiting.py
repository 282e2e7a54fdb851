"""A flood of distinct labels is counted as before and costs no more work than known labels."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from exporter import catalogue as c
from exporter.ledger.budgets import Budget
from exporter.ledger.ledger import Ledger
from exporter.ledger.postings import Tally
from exporter.ledger.prices import Price
from exporter.ledger.series import Limits, Series
from parsers import batch as b
from parsers.dify import Dify
from tests.work import calls_of

NOW = 1_790_000_000.0
AT = 1_789_999_000_000_000_000
BUDGETS = (
    Budget(name="all", window="day", unit="USD", limit="1"),
    Budget(name="one app", window="day", unit="tokens", limit="1", match={"app_id": "app-3"}),
    Budget(name="one source", window="day", unit="tokens", limit="1", match={"source": "s"}),
)
PRICES = (Price(model="priced", input="2", output="3", currency="USD"),)


def new_ledger(cap: int) -> Ledger:
    return Ledger(Limits(series_per_counter=cap, series_per_histogram=cap), lambda: NOW, None, PRICES, BUDGETS)


names = st.sampled_from(["app-0", "app-1", "app-2", "app-3", "app-4", "a\x00b", "", "x" * 200, "other", "unknown"])
counts = st.none() | st.integers(0, 9)
models = st.sampled_from(["priced", "m1", "m2", "m3", "m\x07", "x" * 200 + "y"])
times = st.sampled_from([None, AT, AT + 1, AT - 86_400 * 10**9])
usages = st.builds(
    b.Usage, names, names, models, counts, counts, counts, st.none() | st.sampled_from([Decimal("0.5"), Decimal(0)]),
    st.sampled_from(["USD", "EUR"]), times, st.integers(1, 3),
)  # fmt: skip
runs = st.builds(b.Run, st.sampled_from(["chat", "workflow"]), names, st.sampled_from(["succeeded", "failed"]), counts)
firsts = st.builds(b.FirstToken, names, models, counts) | st.builds(
    b.FirstToken, names, models, st.none(), st.just(2), st.tuples(st.integers(0, 9), st.integers(0, 9))
)
missing = st.builds(b.UsageMissing, names, st.sampled_from(["zero", "absent"]))
records = st.lists(usages | runs | firsts | missing, max_size=12)


def cost(app: str, at: int | None) -> b.Usage:
    return b.Usage(app, "p", "m", 1, None, None, Decimal("0.5"), "USD", at)


def model_of(model: str, at: int | None) -> b.Usage:
    """A usage without an amount."""
    return b.Usage("x", "p", model, at=at)


UNTIMED = b.Usage("x", "p", "priced", 1)


@example(  # a usage without a time counts at the time of the usage before it
    batches=[[cost("first", AT - 86_400 * 10**9)], [cost("x", None), cost("y", AT), cost("z", None)]], cap=1
)
@example(  # nor does its time depend on which usages can wait
    batches=[[UNTIMED], [structs.replace(UNTIMED, at=AT - 86_400 * 10**9), model_of("m", AT)], [cost("z", None)]], cap=1
)
@given(batches=st.lists(records, max_size=4), cap=st.integers(1, 4))
def test_sums_are_those_of_each_record_alone(batches: list[list[b.Record]], cap: int) -> None:
    together, alone = new_ledger(cap), new_ledger(cap)
    together.open("s")
    alone.open("s")
    for batch in batches:
        together.enter("s", b.Batch(lines=len(batch), records=tuple(batch)))
        for record in batch:
            alone.enter("s", b.Batch(lines=1, records=(record,)))
            alone.snapshot(NOW)  # so nothing is summed before it is entered
    found, expected = together.snapshot(NOW), alone.snapshot(NOW)
    assert {m.name: dict(v) for m, v in found.counters.items()} == {
        m.name: dict(v) for m, v in expected.counters.items()
    }
    assert {m.name: dict(v) for m, v in found.histograms.items()} == {
        m.name: dict(v) for m, v in expected.histograms.items()
    }
    assert found.spent == expected.spent


def flood(kind: str, label: str) -> b.Record:
    of: dict[str, Any] = {
        "apps": b.Usage(label, "p", "m", 1, 2, None, Decimal("0.5"), "USD", AT),
        "models": b.Usage("app", "p", label, 1, 2, None, None, "USD", AT),
        "providers": b.Usage("app", label, "m", None, None, 3, Decimal("0.5"), "USD", AT),
        "runs": b.Run("chat", label, "succeeded", 5),
        "first tokens": b.FirstToken(label, "m", 5),
        "missing": b.UsageMissing(label, "zero"),
        "tasks": b.Task(label, "succeeded", 5),
        "received": b.TaskReceived(label),
    }
    return of[kind]


@pytest.mark.parametrize(
    "kind", ["apps", "models", "providers", "runs", "first tokens", "missing", "tasks", "received"]
)
def test_work_beyond_the_cap_does_not_grow_with_labels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = new_ledger(10)
    ledger.enter("s", b.Batch(records=tuple(flood(kind, f"first-{number}") for number in range(50))))
    changes = []
    for name in ("add", "observe"):
        done = getattr(Series, name)
        monkeypatch.setattr(
            Series, name, lambda *args, _done=done, **named: (changes.append(args), _done(*args, **named))
        )
    work = []
    for size in (100, 1000):
        changes.clear()
        ledger.enter("s", b.Batch(records=tuple(flood(kind, f"{size}-{number}") for number in range(size))))
        work.append(len(changes))
    assert work[0] == work[1] <= 20
    folded = ledger.snapshot(NOW).counters[c.FOLDED_OBSERVATIONS]
    assert sum(folded.values()) >= 1100


@pytest.mark.parametrize("kind", ["runs", "received"])
def test_a_commit_enters_few_sums_while_many_sources_are_flooded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, changes, add = new_ledger(10_000), [], Series.add
    for number in range(0, 3000, 500):
        for source in map(str, range(20)):
            flooded = tuple(flood(kind, f"{source}-{each}") for each in range(number, number + 500))
            ledger.enter(source, b.Batch(records=flooded))
    monkeypatch.setattr(Series, "add", lambda *args, **named: (changes.append(args), add(*args, **named)))
    state = ledger.changes()
    assert len(changes) < 20 * 2500
    metric = c.RUNS if kind == "runs" else c.TASKS_RECEIVED
    assert sum(state.counters[metric.name].values()) == 20 * 3000


def telemetry(name: str, number: int) -> bytes:
    """A line with an app and a model of its own."""
    attributes = {
        "node": '"dify.event.name":"dify.node.execution","dify.node.type":"llm","dify.node.status":"succeeded",'
        '"dify.node.elapsed_time":1.5,"dify.node.total_price":"0.0012","dify.node.currency":"USD"',
        "message": '"dify.event.name":"dify.message.run","dify.message.status":"normal","dify.message.duration":1.5,'
        '"dify.conversation.mode":"chat","dify.message.time_to_first_token":0.5',
    }[name]
    return (
        '{"ts":"2026-11-23T08:53:00.453Z","message":"telemetry.span_detail","attributes":{'
        f'{attributes},"dify.app_id":"{number:08x}-0000-4000-8000-000000000000","gen_ai.usage.input_tokens":3,'
        f'"gen_ai.usage.output_tokens":4,"gen_ai.request.model":"model-{number}","gen_ai.provider.name":"p"}}}}\n'
    ).encode()


def calls_per_line(ledger: Ledger, lines: list[bytes]) -> float:
    """The calls of Python functions to parse and enter these lines."""
    return calls_of(lambda: ledger.enter("s", Dify().parse(b"".join(lines)))) / len(lines)


@pytest.mark.parametrize(("name", "most"), [("node", 7), ("message", 12)])
def test_a_line_of_an_unknown_app_costs_few_calls(name: str, most: int) -> None:
    """Beyond the cap the work is done by columns: a record for each line, but few calls for it."""
    ledger = Ledger(Limits(series_per_counter=10, series_per_histogram=10), lambda: NOW)
    ledger.enter("s", Dify().parse(b"".join(telemetry(name, number) for number in range(100))))
    assert calls_per_line(ledger, [telemetry(name, 1000 + number) for number in range(2000)]) < most


@pytest.mark.parametrize(("name", "most"), [("node", 10), ("message", 45)])
@pytest.mark.parametrize("cap", [1000, 3000])
def test_a_label_set_that_comes_again_and_again_costs_few_calls(name: str, cap: int, most: int) -> None:
    """The records of a thousand apps wait in sums, whether the caps admit some or all of the apps."""
    ledger = Ledger(Limits(series_per_counter=cap, series_per_histogram=cap // 10), lambda: NOW)
    lines = [telemetry(name, number) for number in range(1000)]
    for _ in range(2):
        ledger.enter("s", Dify().parse(b"".join(lines)))
    assert calls_per_line(ledger, lines) < most


@pytest.mark.parametrize("kind", ["apps", "first tokens", "missing"])
def test_a_process_that_parses_sends_records_of_many_apps_as_they_are(kind: str) -> None:
    """Their sums would be larger, and each would be entered by itself."""
    tally = Tally({})
    many = tuple(flood(kind, f"app-{number}") for number in range(1000))
    assert tally.post(many) == many
    assert tally.taken() is None
    assert tally.post([flood(kind, "app")] * 1000) == ()
    assert tally.taken() is not None
