"""Books of another catalogue or configuration are taken over as far as they fit, and the rest is named."""

import msgspec

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import MetricSchema, State
from exporter.window import Position, Window
from parsers import batch as b

SECOND = 1_000_000_000


def books(**options: object) -> Ledger:
    return Ledger(Limits(**options.pop("limits", {})), lambda: 1e9, **options)  # type: ignore[arg-type]


def stored() -> State:
    """Two sources, one request and one open join each, through the coding of the state file."""
    ledger = books()
    for source in ("a", "b"):
        request = b.Request("GET", "/v1/info", "200", durations=(SECOND,))
        batch = b.Batch(10, 1, last_at=SECOND, records=(request, b.Opened("t", "workflow", "app", at=SECOND)))
        ledger.post(Window(source, "f", Position(source, 1, 0, 0), b"x" * 10), batch)
        ledger.seek(source, ["/log", "/typo"])
    image = State()
    image.update(msgspec.msgpack.decode(msgspec.msgpack.encode(ledger.changes()), type=State))
    return image


def test_everything_is_taken_over() -> None:
    ledger, image = books(), stored()
    assert ledger.take_over(image, ["a", "b"]) == []
    assert ledger.changes() == image
    assert ledger.positions("a")["f"].offset == 10


def test_only_what_is_still_sought_is_kept() -> None:
    ledger = books()
    ledger.take_over(stored(), ["a", "b"])
    assert ledger.sought("a") == ["/log", "/typo"]
    ledger.changes()
    ledger.seek("a", ["/log"])
    assert ledger.changes().sought == {"a": {"/typo": None}}
    ledger.seek("a", ["/log"])
    assert ledger.changes().empty


def test_series_keep_their_births() -> None:
    ledger = Ledger(Limits(), lambda: 2e9)
    ledger.take_over(stored(), ["a", "b"])
    ledger.enter("a", b.Batch(records=(b.Request("GET", "/v1/info", "200"), b.Request("PUT", "/v1/info", "200"))))
    created = ledger.snapshot(0).created[c.REQUESTS]
    assert created["a", "GET", "/v1/info", "200"] == 1e9
    assert created["a", "PUT", "/v1/info", "200"] == 2e9


def test_a_source_that_is_gone_is_dropped_with_its_series() -> None:
    ledger = books()
    assert ledger.take_over(stored(), ["b", "new"]) == ["source a is not configured any more: dropped with its series"]
    snapshot = ledger.snapshot(0)
    assert {labels[0] for labels in snapshot.counters[c.REQUESTS]} == {"b"}
    assert ledger.positions("a") == ledger.positions("new") == {}
    assert ledger.sought("a") == []
    assert ledger.positions("b") != {}


def test_a_metric_whose_labels_changed_begins_anew() -> None:
    image = stored()
    image.shapes[c.REQUESTS.name] = MetricSchema(("source", "method", "status_code"))
    ledger = books()
    assert ledger.take_over(image, ["a", "b"]) == [
        "dify_requests_total is dropped with 2 series: its labels were source, method, status_code and are source, "
        "method, route, status_code"
    ]
    snapshot = ledger.snapshot(0)
    assert snapshot.counters[c.REQUESTS] == snapshot.created[c.REQUESTS] == {}
    assert snapshot.counters[c.LINES]["a", "observed"] == 1


def test_a_metric_that_is_gone_is_dropped() -> None:
    image = stored()
    image.shapes["dify_old_total"] = MetricSchema(("source",))
    image.counters["dify_old_total"] = {("a",): 3}
    image.created["dify_old_total"] = {("a",): 1e9}
    assert books().take_over(image, ["a", "b"]) == [
        "dify_old_total is dropped with 1 series: there is no such metric any more"
    ]


def test_a_histogram_whose_buckets_changed_begins_anew() -> None:
    ledger = books(buckets={c.REQUEST_DURATION.name: (1.0, 2.0)})
    assert ledger.take_over(stored(), ["a", "b"]) == [
        "dify_request_duration_seconds is dropped with 2 series: its buckets have changed"
    ]
    ledger.enter("a", b.Batch(records=(b.Request("GET", "/v1/info", "200", durations=(SECOND,)),)))
    assert list(ledger.snapshot(0).histograms[c.REQUEST_DURATION].values()) == [[1, 0, 0, SECOND]]


def test_series_above_a_lowered_limit_are_kept() -> None:
    ledger = books(limits={"series_per_histogram": 1})
    assert ledger.take_over(stored(), ["a", "b"]) == [
        "dify_request_duration_seconds keeps its 2 series, more than the limit of 1: new ones fold into `other`"
    ]
    ledger.enter("a", b.Batch(records=(b.Request("GET", "/v1/meta", "200", durations=(SECOND,)),)))
    assert ("a", "GET", "other", "200") in ledger.snapshot(0).histograms[c.REQUEST_DURATION]


def test_an_open_join_is_closed_after_a_restart() -> None:
    ledger = books()
    ledger.take_over(stored(), ["a", "b"])
    ledger.enter("a", b.Batch(records=(b.Closed("t", "finished", SECOND, at=SECOND),), last_at=5 * SECOND))
    assert ledger.snapshot(0).counters[c.RUNS] == {("a", "workflow", "app", "finished"): 1}
    assert ledger.changes().waiting["a"] == {"t": None}


def test_joins_wait_in_the_order_of_their_age_after_a_restart() -> None:
    ledger = books(limits={"open_joins": 2})
    image = stored()
    image.waiting["a"] = {name: b.Opened(name, "workflow", name, at=at) for name, at in (("young", 9), ("old", 1))}
    ledger.take_over(image, ["a", "b"])
    ledger.enter("a", b.Batch(records=(b.Opened("t", "workflow", "app", at=10),)))
    assert ledger.snapshot(0).counters[c.RUNS] == {("a", "workflow", "old", "lost"): 1}
