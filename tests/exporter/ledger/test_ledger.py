"""Series and positions change together; every record type moves what the design says."""

from decimal import Decimal

import pytest

from exporter import catalogue as c
from exporter.ledger.budgets import Budget
from exporter.ledger.ledger import Ledger
from exporter.ledger.prices import Price
from exporter.ledger.series import Limits
from exporter.tail.position import Position, RotationEvents, Window
from parsers import batch as b

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND
NOW = 1_000_000.0


def new_ledger(**limits: int) -> Ledger:
    return Ledger(Limits(**limits), clock=lambda: NOW)


def window(offset: int, data: bytes = b"x" * 10, **events: int) -> Window:
    return Window(
        source="s", file="f", position=Position("log", 1, 0, 0, offset), data=data, events=RotationEvents(**events)
    )


def counted(ledger: Ledger, metric: c.Metric) -> dict[tuple[str, ...], object]:
    """What a counter says of source s, without the zeros."""
    return {labels[1:]: value for labels, value in ledger.snapshot(NOW).counters[metric].items() if value}


def entered(*records: b.Record, last_at: int | None = None, **limits: int) -> Ledger:
    ledger = new_ledger(**limits)
    ledger.enter("s", b.Batch(lines=len(records), records=records, last_at=last_at))
    return ledger


def test_records_and_position_go_in_together() -> None:
    ledger = new_ledger()
    ledger.post(window(0, rotations=1, truncations=2, lost_bytes=3), b.Batch(consumed=10, lines=2, ignored=1))
    assert ledger.positions("s")["f"].offset == 10
    assert counted(ledger, c.READ_BYTES) == {(): 10}
    assert counted(ledger, c.LINES) == {("observed",): 1, ("ignored",): 1}
    news = [counted(ledger, metric)[()] for metric in (c.ROTATIONS, c.TRUNCATIONS, c.LOST_BYTES)]
    assert news == [1, 2, 3]


def test_nothing_is_posted_twice() -> None:
    """The voucher number: a window that does not begin where the last one ended changes nothing."""
    ledger = new_ledger()
    ledger.post(window(0), b.Batch(consumed=10, lines=1))
    for offset in (0, 9, 11):
        with pytest.raises(ValueError, match=f"window begins at {offset}, posted up to 10"):
            ledger.post(window(offset), b.Batch(consumed=10, lines=1))
    assert counted(ledger, c.LINES) == {("observed",): 1}


def test_a_forgotten_generation_has_no_position() -> None:
    ledger = new_ledger()
    ledger.post(window(0), b.Batch(consumed=10, lines=1))
    ledger.post(window(10, b"", forget=("f",)), b.Batch())
    assert ledger.positions("s") == {}


def test_the_first_error_is_visible() -> None:
    ledger = new_ledger()
    ledger.open("s")
    counters = ledger.snapshot(NOW).counters
    assert set(counters[c.ERRORS]) == {("s", kind) for kind in b.ERROR_KINDS}
    assert set(counters[c.UNPARSED_LINES]) == {("s", reason) for reason in b.UNPARSED_REASONS}
    assert set(counters[c.LINES]) == {("s", o) for o in ("observed", "ignored", "unparsed")}
    ledger.enter("s", b.Batch(records=(b.Request("GET", "/v1/info", "200"),)))
    failed = ledger.snapshot(NOW).counters[c.FAILED_REQUESTS]
    assert failed == {("s", "/v1/info", reason): 0 for reason in b.FAILURE_REASONS}


def test_a_request_moves_its_series() -> None:
    record = b.Request(
        "POST", "/v1/chat-messages", "504", "timeout", 2, 300, (SECOND, 3 * SECOND), (SECOND,), (5 * SECOND,)
    )
    ledger = entered(record)
    assert counted(ledger, c.REQUESTS) == {("POST", "/v1/chat-messages", "504"): 2}
    assert counted(ledger, c.FAILED_REQUESTS) == {("/v1/chat-messages", "timeout"): 2}
    assert counted(ledger, c.RESPONSE_BYTES) == {("/v1/chat-messages",): 300}
    histograms = ledger.snapshot(NOW).histograms
    assert histograms[c.REQUEST_DURATION]["s", "POST", "/v1/chat-messages", "504"].total == 4 * SECOND
    assert histograms[c.TIME_TO_FIRST_BYTE]["s", "POST", "/v1/chat-messages"].total == SECOND
    assert histograms[c.HANDLER_DURATION]["s", "POST", "/v1/chat-messages"].total == 5 * SECOND


def test_a_line_that_only_times_a_request_does_not_count_it() -> None:
    timed = b.Request("POST", "/v1/chat-messages", "500", "", 0, 17, (SECOND,))
    snapshot = entered(timed).snapshot(NOW)
    assert not snapshot.counters[c.REQUESTS]
    assert not snapshot.counters[c.FAILED_REQUESTS]
    assert snapshot.counters[c.RESPONSE_BYTES] == {("s", "/v1/chat-messages"): 17}
    assert list(snapshot.histograms[c.REQUEST_DURATION]) == [("s", "POST", "/v1/chat-messages", "500")]


def test_bytes_that_are_not_known_make_no_series() -> None:
    ledger = entered(b.Request("GET", "/v1/info", "200"))
    assert ledger.snapshot(NOW).counters[c.RESPONSE_BYTES] == {}


def test_reported_cost_wins_over_the_price_list() -> None:
    price = Price(model="gpt-4.1", input="2.00", output="8.00", currency="USD", provider="openai")
    ledger = Ledger(Limits(), clock=lambda: NOW, prices=[price])
    usage = {"app_id": "a", "provider": "langgenius/openai/openai", "model": "gpt-4.1"}
    ledger.enter(
        "s",
        b.Batch(
            records=(
                b.Usage(**usage, input_tokens=1000, output_tokens=500),
                b.Usage(**usage, input_tokens=1, output_tokens=1, cost=Decimal("0.5"), currency="RMB"),
                b.Usage(**{**usage, "model": "nobody"}, input_tokens=3, output_tokens=4),
                b.Usage(**usage, unsplit_tokens=9),
            )
        ),
    )
    model = ("a", "langgenius/openai/openai", "gpt-4.1")
    assert counted(ledger, c.COST) == {
        (*model, "USD", "price_list"): Decimal("0.006"),
        (*model, "RMB", "reported"): Decimal("0.5"),
    }
    assert counted(ledger, c.UNPRICED_TOKENS) == {(model[1], "nobody"): 7, model[1:]: 9}
    assert counted(ledger, c.TOKENS_USED)[*model, "input"] == 1001
    assert counted(ledger, c.TOKENS_USED)[*model, "unsplit"] == 9


def test_a_price_is_valid_from_its_day() -> None:
    old = Price(model="m", input="1", output="1", currency="USD")
    new = Price(model="m", input="3", output="3", currency="USD", since=__import__("datetime").date(1970, 1, 3))
    ledger = Ledger(Limits(), clock=lambda: NOW, prices=[old, new])
    for at in (DAY, 2 * DAY):
        ledger.enter("s", b.Batch(records=(b.Usage(model="m", input_tokens=500_000, output_tokens=500_000, at=at),)))
    assert sum(counted(ledger, c.COST).values()) == 4


def test_the_halves_of_a_run_are_joined() -> None:
    ledger = entered(
        b.Opened("t1", "workflow", "app", at=1),
        b.Closed("t1", "finished", 2 * SECOND, at=2),
        b.Closed("t2", "failed", None, at=3),
    )
    assert counted(ledger, c.RUNS) == {}
    ledger.enter("s", b.Batch(last_at=5 * SECOND))
    assert counted(ledger, c.RUNS) == {("workflow", "app", "finished"): 1, ("unknown", "unknown", "failed"): 1}
    assert list(ledger.snapshot(NOW).histograms[c.RUN_DURATION]) == [("s", "workflow", "app")]


def test_a_join_is_lost_after_a_day_of_event_time() -> None:
    ledger = entered(b.Opened("t1", "workflow", "app", at=0), last_at=DAY - 1)
    assert counted(ledger, c.RUNS) == {}
    ledger.enter("s", b.Batch(last_at=DAY))
    assert counted(ledger, c.RUNS) == {("workflow", "app", "lost"): 1}
    assert counted(ledger, c.JOINS_EXPIRED) == {(): 1}


def test_a_line_from_the_future_ends_no_join() -> None:
    ledger = entered(b.Opened("t1", "workflow", "app", at=round(NOW * SECOND)), last_at=10**30)
    assert counted(ledger, c.RUNS) == {}
    assert ledger.snapshot(NOW).last_at == {"s": NOW}


def test_a_time_from_the_future_keeps_neither_a_join_nor_a_worker_for_ever() -> None:
    """Nor does none, and nothing stored is beyond 64 bits."""
    now = round(NOW * SECOND)
    for at in (10**30, None):
        ledger = entered(
            b.Opened("t1", "workflow", "app", at), b.Opened("t2", "chat", "app", now), b.Active("w", 7, at)
        )
        assert [each.at for each in ledger.changes().waiting["s"].values() if each] == [now, now]
        ledger = entered(b.Active("w", 7, at))
        assert ledger.snapshot(NOW).active == {"s": 7}
        assert ledger.snapshot(NOW + 31).active == {"s": 0}


def test_the_newest_line_of_a_worker_decides_in_any_order() -> None:
    ledger = entered(b.Active("w", 7, round(NOW * SECOND)), b.Active("w", 3, round((NOW - 1) * SECOND)))
    assert ledger.snapshot(NOW).active == {"s": 7}
    ledger.enter("s", b.Batch(records=(b.Active("w", 2, round(NOW * SECOND)),)))
    assert ledger.snapshot(NOW).active == {"s": 2}


def test_open_joins_are_bounded() -> None:
    opened = [b.Opened(f"t{n}", "workflow", "app", at=n) for n in range(5)]
    ledger = entered(*opened, open_joins=2)
    assert counted(ledger, c.RUNS) == {("workflow", "app", "lost"): 3}


def test_active_requests_are_the_sum_of_workers_that_spoke_lately() -> None:
    now = round(NOW * SECOND)
    ledger = entered(
        b.Active("w1", 7, now - 31 * SECOND),
        b.Active("w2", 3, now),
        b.Active("w3", 2, now),
        b.Active("w3", 1, now),
    )
    assert ledger.snapshot(NOW).active == {"s": 4}


def test_a_worker_that_spoke_before_the_clock_was_set_back_holds_no_requests() -> None:
    assert entered(b.Active("w", 7, round(NOW * SECOND))).snapshot(NOW - 3600).active == {"s": 0}


def test_the_remaining_records() -> None:
    ledger = entered(
        b.UsageMissing("app", "zero"),
        b.FirstToken("app", "m", SECOND),
        b.Run("chat", "app", "succeeded", SECOND),
        b.NodeRun("llm", "succeeded", SECOND),
        b.Task("tasks.x", "failed", None),
        b.TaskReceived("tasks.x"),
        b.TaskReceived("tasks.x"),
        b.Invocation("invoke_llm", "200", SECOND),
        b.Failure("upstream_timeout", 2),
        b.DroppedLines(4),
        b.DroppedValue("time", 3, "12:00"),
        b.DroppedValue("time"),
    )
    totals = {metric.name: counted(ledger, metric) for metric in ledger.snapshot(NOW).counters}
    assert totals["dify_usage_missing_total"] == {("app", "zero"): 1}
    assert totals["dify_runs_total"] == {("chat", "app", "succeeded"): 1}
    assert totals["dify_node_runs_total"] == {("llm", "succeeded"): 1}
    assert totals["dify_tasks_total"] == {("tasks.x", "failed"): 1}
    assert totals["dify_tasks_received_total"] == {("tasks.x",): 2}
    assert totals["dify_model_invocations_total"] == {("invoke_llm", "200"): 1}
    assert totals["dify_errors_total"] == {("upstream_timeout",): 2}
    assert totals["dify_proxy_dropped_lines_total"] == {(): 4}
    assert totals["dify_exporter_dropped_values_total"] == {("time",): 4}
    histograms = {metric.name for metric, values in ledger.snapshot(NOW).histograms.items() if values}
    assert histograms == {
        "dify_time_to_first_token_seconds",
        "dify_run_duration_seconds",
        "dify_node_run_duration_seconds",
        "dify_model_invocation_duration_seconds",
    }


def _spent(*batches: b.Batch, stored: Ledger | None = None) -> dict[int, object]:
    """What was spent by the day of November 2026 that it counts in; the clock says the 29th."""
    budget = Budget("b", "day", "USD", "1")
    now = 1_795_939_200.0
    ledger = Ledger(Limits(), clock=lambda: now, budgets=[budget])
    if stored is not None:
        ledger.restore(stored.changes(), ["s"])
    for batch in batches:
        ledger.enter("s", batch)
    days = ledger.snapshot(now).spent[budget.key]
    return {start // DAY - _OCTOBER_31: amount for (start, unit), amount in days.items() if unit == "USD"}


_OCTOBER_31 = 20_757


def _usage(day: int | None, cost: int) -> b.Usage:
    at = None if day is None else (_OCTOBER_31 + day) * DAY + SECOND
    return b.Usage(cost=Decimal(cost), currency="USD", at=at)


def _batch(*usages: b.Usage) -> b.Batch:
    times = [usage.at for usage in usages if usage.at is not None]
    return b.Batch(lines=len(usages), records=usages, last_at=max(times, default=None))


def test_a_usage_without_a_time_counts_with_the_one_before_it() -> None:
    lines = _usage(3, 1), _usage(None, 2), _usage(5, 4), _usage(None, 8), _usage(4, 16), _usage(None, 32)
    assert _spent(_batch(*lines)) == {3: 3, 5: 12, 4: 48}


def test_a_usage_without_a_time_counts_with_the_batch_before_it() -> None:
    assert _spent(_batch(_usage(3, 1)), _batch(_usage(None, 2)), _batch(_usage(None, 4))) == {3: 7}
    lines_without_usage = b.Batch(lines=1, last_at=(_OCTOBER_31 + 7) * DAY)
    assert _spent(_batch(_usage(3, 1)), lines_without_usage, _batch(_usage(None, 2))) == {3: 1, 7: 2}


def test_a_usage_without_a_time_at_the_beginning_counts_with_its_batch_else_by_the_clock() -> None:
    assert _spent(_batch(_usage(None, 1), _usage(3, 2))) == {3: 3}
    assert _spent(_batch(_usage(None, 1))) == {29: 1}


def test_after_a_restart_a_usage_without_a_time_counts_with_the_newest_line() -> None:
    before = Ledger(Limits(), clock=lambda: 1_795_939_200.0)
    before.enter("s", b.Batch(lines=1, last_at=(_OCTOBER_31 + 7) * DAY))
    assert _spent(_batch(_usage(None, 2)), stored=before) == {7: 2}
