"""A ChangeTracker records what has changed."""

from exporter.ledger.change_tracker import ChangeTracker


def test_changes_are_returned_once_and_in_order() -> None:
    table: ChangeTracker[str, int] = ChangeTracker()
    table["b"] = 1
    table["a"] = 2
    table["b"] += 1
    assert list(table.changes().items()) == [("b", 2), ("a", 2)]
    assert table.changes() == {}


def test_what_is_gone_is_none() -> None:
    table: ChangeTracker[str, int] = ChangeTracker()
    table.enter({"a": 1, "b": 2, "c": 3})
    table.changes()
    del table["a"]
    assert table.pop("b") == 2
    assert table.pop("z", None) is None
    assert table.changes() == {"a": None, "b": None}
    table["a"] = 5
    assert table.changes() == {"a": 5}
