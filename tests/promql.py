"""What a PromQL expression names, read from its syntax tree."""

from collections.abc import Iterator
from typing import Any

import promql_parser
from msgspec import Struct


class Selector(Struct, frozen=True):
    """One selector: the metric, the labels that it matches on with their operator and value, and whether it
    selects a range.
    """

    metric: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    ranged: bool = False


class Names(Struct, frozen=True):
    """`grouping` holds the labels of by, without, on, ignoring, group_left and group_right."""

    selectors: tuple[Selector, ...]
    grouping: frozenset[str]


def names(expression: str) -> Names:
    """Raises ValueError for what is no PromQL."""
    nodes = list(_walk(promql_parser.parse(expression)))
    selectors = [_selector(node, ranged=False) for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    selectors += [
        _selector(node.vector_selector, ranged=True) for node in nodes if isinstance(node, promql_parser.MatrixSelector)
    ]
    return Names(tuple(selectors), frozenset(label for node in nodes for label in _grouping(node)))


def _selector(node: Any, ranged: bool) -> Selector:
    matchers = [(each.name, str(each.op).rpartition(".")[2], each.value) for each in node.matchers.matchers]
    metric = node.name or next(value for name, _, value in matchers if name == "__name__")
    return Selector(metric, tuple(matchers), ranged)


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "param"):
        if (child := getattr(node, name, None)) is not None and not isinstance(child, str):
            yield from _walk(child)
    for child in getattr(node, "args", ()):
        yield from _walk(child)


def _grouping(node: Any) -> Iterator[str]:
    modifier = getattr(node, "modifier", None)
    yield from getattr(modifier, "labels", None) or ()
    yield from getattr(getattr(modifier, "matching", None), "labels", None) or ()
    yield from getattr(modifier, "group_labels", None) or ()
