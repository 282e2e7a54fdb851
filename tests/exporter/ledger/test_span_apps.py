"""Usage of a node counts for the app of the span above it, in any order, over restarts, and in bounded memory."""

from itertools import permutations

import msgspec
import pytest

from exporter import catalogue as c
from exporter.ledger.book import TOKENS
from exporter.ledger.history import History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import State
from parsers import batch as b
from parsers.dify import Dify
from parsers.tracing import heartbeat_line

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND
NOW = 100 * DAY
RUN = b.SpanApp("t:run", "app", at=NOW)
ITERATION = b.SpanApp("t:iteration", b.UNKNOWN, "t:wrapper", NOW)
WRAPPER = b.SpanApp("t:wrapper", b.UNKNOWN, "t:run", NOW)


def new_ledger(open_joins: int = 10_000) -> Ledger:
    return Ledger(Limits(open_joins=open_joins), lambda: NOW / SECOND)


def usage(parent: str, tokens: int = 5, at: int = NOW) -> b.OfSpan:
    return b.OfSpan(parent, b.Usage(model="m", input_tokens=tokens, at=at), at)


def by_app(ledger: Ledger, now: float | None = NOW / SECOND) -> dict[str, int]:
    found: dict[str, int] = {}
    for (_, app_id, *_), count in ledger.snapshot(now).counters[c.TOKENS_USED].items():
        found[app_id] = found.get(app_id, 0) + int(count)
    return found


def expired(ledger: Ledger) -> int:
    return int(ledger.snapshot(NOW / SECOND).counters[c.JOINS_EXPIRED]["s",])


@pytest.mark.parametrize("order", list(permutations([RUN, ITERATION, WRAPPER, usage("t:iteration")])))
def test_the_app_is_found_along_the_parents_in_any_order(order: tuple[b.Record, ...]) -> None:
    ledger = new_ledger()
    for record in order:
        ledger.enter("s", b.Batch(records=(record,)))
    assert by_app(ledger) == {"app": 5}


def test_nothing_counts_before_the_app_is_known() -> None:
    ledger = new_ledger()
    first_token = b.OfSpan("t:run", b.FirstToken(b.UNKNOWN, "m", SECOND), NOW)
    missing = b.OfSpan("t:run", b.UsageMissing(b.UNKNOWN, "zero"), NOW)
    ledger.enter("s", b.Batch(records=(usage("t:run"), first_token, missing)))
    assert by_app(ledger) == {}
    ledger.enter("s", b.Batch(records=(RUN,)))
    snapshot = ledger.snapshot(NOW / SECOND)
    assert by_app(ledger) == {"app": 5}
    assert list(snapshot.histograms[c.TIME_TO_FIRST_TOKEN]) == [("s", "app", "m")]
    assert list(snapshot.counters[c.USAGE_MISSING]) == [("s", "app", "zero")]


def test_sources_are_apart() -> None:
    ledger = new_ledger()
    ledger.enter("s", b.Batch(records=(usage("t:run"),)))
    ledger.enter("other", b.Batch(records=(RUN,)))
    assert by_app(ledger) == {}


def test_everything_that_waits_survives_a_restart() -> None:
    ledger = new_ledger()
    ledger.enter("s", b.Batch(records=(usage("t:run"), usage("t:iteration", 7), ITERATION, WRAPPER)))
    state = State()
    state.update(msgspec.msgpack.decode(msgspec.msgpack.encode(ledger.changes()), type=State))
    ledger.enter("s", b.Batch(records=(usage("t:iteration", 11),)))
    state.update(msgspec.msgpack.decode(msgspec.msgpack.encode(ledger.changes()), type=State))
    restored = new_ledger()
    restored.restore(state, ["s"])
    restored.enter("s", b.Batch(records=(RUN, usage("t:wrapper", 13))))
    assert by_app(restored) == {"app": 5 + 7 + 11 + 13}
    assert not restored.changes().of_spans.get("s", {}).get("t:run")


def test_a_parent_that_does_not_come_within_a_day_leaves_the_app_unknown() -> None:
    ledger = new_ledger()
    ledger.enter("s", b.Batch(records=(usage("t:run", at=NOW - 2 * DAY),), last_at=NOW - 2 * DAY))
    assert by_app(ledger) == {}
    ledger.enter("s", b.Batch(last_at=NOW - DAY - 1))
    assert by_app(ledger) == {}
    ledger.enter("s", b.Batch(last_at=NOW))
    assert by_app(ledger) == {b.UNKNOWN: 5}
    assert expired(ledger) == 1


def test_a_span_is_forgotten_after_a_day() -> None:
    ledger = new_ledger()
    ledger.enter("s", b.Batch(records=(b.SpanApp("t:run", "app", at=NOW - 2 * DAY),), last_at=NOW - 2 * DAY))
    ledger.enter("s", b.Batch(records=(usage("t:run"),), last_at=NOW))
    assert by_app(ledger) == {"app": 5}
    ledger.enter("s", b.Batch(records=(usage("t:run"),), last_at=NOW))
    assert by_app(ledger) == {"app": 5}


def test_beyond_the_capacity_the_oldest_counts_as_unknown() -> None:
    ledger = new_ledger(open_joins=3)
    ledger.enter("s", b.Batch(records=tuple(usage(f"t:{number}", 10**number) for number in range(5))))
    assert by_app(ledger) == {b.UNKNOWN: 11}
    ledger.enter("s", b.Batch(records=tuple(b.SpanApp(f"t:{number}", "app", at=NOW) for number in range(5))))
    assert by_app(ledger) == {b.UNKNOWN: 11, "app": 11100}


def test_many_records_of_one_parent_are_bounded_too() -> None:
    ledger = new_ledger(open_joins=3)
    ledger.enter("s", b.Batch(records=tuple(usage("t:run") for _ in range(100))))
    ledger.enter("s", b.Batch(records=(RUN,)))
    assert sum(by_app(ledger).values()) == 500


def test_spans_that_name_each_other_as_parent_end() -> None:
    ledger = new_ledger()
    circle = (b.SpanApp("t:a", b.UNKNOWN, "t:b", NOW), b.SpanApp("t:b", b.UNKNOWN, "t:a", NOW))
    ledger.enter("s", b.Batch(records=(*circle, usage("t:a"))))
    assert by_app(ledger) == {b.UNKNOWN: 5}


def test_at_the_end_of_a_replay_the_rest_counts_as_unknown() -> None:
    ledger = new_ledger()
    ledger.enter("s", b.Batch(records=(usage("t:run"),)))
    assert by_app(ledger, None) == {b.UNKNOWN: 5}


def test_items_of_the_receiver_count_by_dialect_and_outcome() -> None:
    ledger = new_ledger()
    ledger.enter("s", b.Batch(records=(b.ReceivedItems("otel", "written", 3), b.ReceivedItems("otel", "written", 4))))
    assert ledger.snapshot(None).counters[c.RECEIVER_ITEMS] == {("s", "otel", "written"): 7}


def test_the_heartbeat_of_an_idle_receiver_begins_the_counter() -> None:
    ledger = new_ledger()
    ledger.enter("s", Dify().parse(heartbeat_line({}, 1_790_000_000_000_000_000)))
    assert ledger.snapshot(None).counters[c.RECEIVER_ITEMS] == {("s", "none", "written"): 0}


def test_usage_that_has_waited_counts_on_the_day_of_its_own_time() -> None:
    now = 20_600 * DAY
    ledger = Ledger(Limits(), lambda: now / SECOND)
    ledger.keep_history(History(HistoryConfig("UTC", 400), Limits(), lambda: now / SECOND))
    run = b.SpanApp("t:run", "app", at=now)
    ledger.enter("s", b.Batch(records=(usage("t:run", at=now - DAY),), last_at=now - DAY), now - DAY)
    ledger.enter("s", b.Batch(records=(run, usage("t:run", 7, now)), last_at=now), now)
    tokens = (TOKENS, "app", b.UNKNOWN, "m", "input")
    counted = {day: book[tokens] for (_, day, _), book in ledger.books().items() if tokens in book}
    assert counted == {"2026-05-26": 5, "2026-05-27": 7}
