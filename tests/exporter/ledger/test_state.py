"""A state of another catalogue or configuration is restored as far as it fits, with a warning for the rest."""

import msgspec

from exporter import catalogue as c
from exporter.ledger.histogram import layout
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import MetricSchema, State
from exporter.tail.position import Position, Window
from parsers import batch as b

SECOND = 1_000_000_000


def new_ledger(**options: object) -> Ledger:
    return Ledger(Limits(**options.pop("limits", {})), lambda: 1e9, **options)  # type: ignore[arg-type]


def stored() -> State:
    """Two sources, one request and one open join each, through the coding of the state file."""
    ledger = new_ledger()
    for source in ("a", "b"):
        request = b.Request("GET", "/v1/info", "200", durations=(SECOND,))
        batch = b.Batch(10, 1, last_at=SECOND, records=(request, b.Opened("t", "workflow", "app", at=SECOND)))
        ledger.post(Window(source, "f", Position(source, 1, 0, 0), b"x" * 10), batch)
        ledger.set_searched_paths(source, ["/log", "/typo"])
    state = State()
    state.update(msgspec.msgpack.decode(msgspec.msgpack.encode(ledger.changes()), type=State))
    return state


def test_everything_is_restored() -> None:
    ledger, state = new_ledger(), stored()
    assert ledger.restore(state, ["a", "b"]) == []
    assert ledger.changes() == state
    assert ledger.positions("a")["f"].offset == 10


def test_only_paths_that_are_still_searched_are_kept() -> None:
    ledger = new_ledger()
    ledger.restore(stored(), ["a", "b"])
    assert ledger.searched("a").paths == ("/log", "/typo")
    ledger.changes()
    ledger.set_searched_paths("a", ["/log"])
    assert ledger.changes().searched_paths == {"a": {"/typo": None}}
    ledger.set_searched_paths("a", ["/log"])
    assert ledger.changes().empty


def test_a_window_moves_the_time_of_the_search_only_behind_a_search_of_this_process() -> None:
    """Else a file that appeared while the exporter was down, and is not read yet, would look older than the search."""
    now = [1e9]
    ledger = Ledger(Limits(), lambda: now[0])
    ledger.restore(stored(), ["a", "b"])
    now[0], window = 2e9, Window("a", "f", Position("a", 1, 0, 0, offset=10), b"x" * 10)
    position = ledger.post(window, b.Batch(10, 1))
    assert ledger.searched("a").until == 10**9 * SECOND
    ledger.set_searched_paths("a", ["/log"])
    now[0] = 3e9
    ledger.post(Window("a", "f", position, b"x" * 10), b.Batch(10, 1))
    assert ledger.searched("a").until == 3 * 10**9 * SECOND


def test_series_keep_their_creation_times() -> None:
    ledger = Ledger(Limits(), lambda: 2e9)
    ledger.restore(stored(), ["a", "b"])
    ledger.enter("a", b.Batch(records=(b.Request("GET", "/v1/info", "200"), b.Request("PUT", "/v1/info", "200"))))
    created = ledger.snapshot(0).created[c.REQUESTS]
    assert created["a", "GET", "/v1/info", "200"] == 1e9
    assert created["a", "PUT", "/v1/info", "200"] == 2e9


def test_a_source_that_is_gone_is_dropped_with_its_series() -> None:
    ledger = new_ledger()
    assert ledger.restore(stored(), ["b", "new"]) == ["source a is no longer configured: it is dropped with its series"]
    snapshot = ledger.snapshot(0)
    assert {labels[0] for labels in snapshot.counters[c.REQUESTS]} == {"b"}
    assert ledger.positions("a") == ledger.positions("new") == {}
    assert ledger.searched("a").paths == ()
    assert ledger.positions("b") != {}


def test_a_metric_whose_labels_changed_starts_at_zero() -> None:
    state = stored()
    state.schemas[c.REQUESTS.name] = MetricSchema(("source", "method", "status_code"))
    ledger = new_ledger()
    assert ledger.restore(state, ["a", "b"]) == [
        "dify_requests_total is dropped with 2 series: its labels were source, method, status_code and are now source, "
        "method, route, status_code"
    ]
    snapshot = ledger.snapshot(0)
    assert snapshot.counters[c.REQUESTS] == snapshot.created[c.REQUESTS] == {}
    assert snapshot.counters[c.LINES]["a", "observed"] == 1


def test_a_metric_that_is_gone_is_dropped() -> None:
    state = stored()
    state.schemas["dify_old_total"] = MetricSchema(("source",))
    state.counters["dify_old_total"] = {("a",): 3}
    state.created["dify_old_total"] = {("a",): 1e9}
    assert new_ledger().restore(state, ["a", "b"]) == [
        "dify_old_total is dropped with 1 series: this metric no longer exists"
    ]


def test_a_histogram_whose_buckets_changed_starts_at_zero() -> None:
    ledger = new_ledger(buckets={c.REQUEST_DURATION.name: (1.0, 2.0)})
    assert ledger.restore(stored(), ["a", "b"]) == [
        "dify_request_duration_seconds is dropped with 2 series: its buckets have changed"
    ]
    ledger.enter("a", b.Batch(records=(b.Request("GET", "/v1/info", "200", durations=(SECOND,)),)))
    [histogram] = ledger.snapshot(0).histograms[c.REQUEST_DURATION].values()
    assert (histogram.count, histogram.total) == (1, SECOND)
    assert layout((1.0, 2.0)).cumulative(histogram) == [1, 1, 1]


def test_series_above_a_lowered_limit_are_kept() -> None:
    ledger = new_ledger(limits={"series_per_histogram": 1})
    assert ledger.restore(stored(), ["a", "b"]) == [
        "dify_request_duration_seconds keeps its 2 series, more than the limit of 1: new ones fold into `other`"
    ]
    ledger.enter("a", b.Batch(records=(b.Request("GET", "/v1/meta", "200", durations=(SECOND,)),)))
    assert ("a", "GET", "other", "200") in ledger.snapshot(0).histograms[c.REQUEST_DURATION]


def test_an_open_join_is_closed_after_a_restart() -> None:
    ledger = new_ledger()
    ledger.restore(stored(), ["a", "b"])
    ledger.enter("a", b.Batch(records=(b.Closed("t", "finished", SECOND, at=SECOND),), last_at=5 * SECOND))
    assert ledger.snapshot(0).counters[c.RUNS] == {("a", "workflow", "app", "finished"): 1}
    assert ledger.changes().waiting["a"] == {"t": None}


def test_joins_wait_in_the_order_of_their_age_after_a_restart() -> None:
    ledger = new_ledger(limits={"open_joins": 2})
    state = stored()
    state.waiting["a"] = {name: b.Opened(name, "workflow", name, at=at) for name, at in (("young", 9), ("old", 1))}
    ledger.restore(state, ["a", "b"])
    ledger.enter("a", b.Batch(records=(b.Opened("t", "workflow", "app", at=10),)))
    assert ledger.snapshot(0).counters[c.RUNS] == {("a", "workflow", "old", "lost"): 1}
