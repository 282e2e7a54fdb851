"""Write exporter/advice/alerts.json: the metrics that each shipped alert needs, resolved through the recording rules.

Run it with `make docs`. A test compares the file with this output.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import promql_parser

from exporter.advice.alerts import of_other_source
from exporter.catalogue import ERRORS, FAILED_REQUESTS, METRICS
from parsers.batch import ERROR_KINDS, FAILURE_REASONS
from tests.rules import FOREIGN, rules

FILE = Path(__file__).parents[1] / "exporter/advice/alerts.json"

Ways = list[frozenset[str]]

#: Metrics whose series all exist from the start. For these, the label values that a rule selects decide whether the
#: alert can fire.
_CHOSEN = {ERRORS.name: ("kind", ERROR_KINDS), FAILED_REQUESTS.name: ("reason", FAILURE_REASONS)}


def table() -> dict[str, list[list[str]]]:
    """Return for each alert the ways in which it can fire; a way is the list of metrics that must exist."""
    found: dict[str, Ways] = {}
    for rule in rules():
        if rule.alerts:
            found.setdefault(rule.name, [])
            found[rule.name] += _ways(promql_parser.parse(rule.expression))
    return {name: sorted(sorted(way) for way in _least(ways)) for name, ways in found.items()}


def text() -> str:
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(ways)}" for name, ways in table().items())
    return f"{{\n{lines}\n}}\n"


def _ways(node: Any) -> Ways:
    operator = str(getattr(node, "op", ""))
    if operator.endswith("or"):
        return _ways(node.lhs) + _ways(node.rhs)
    if operator.endswith("unless"):
        return _ways(node.lhs)
    if isinstance(node, promql_parser.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql_parser.VectorSelector):
        return _least([narrow for way in _ways_of(node.name or "") for narrow in _narrowed(way, node)])
    return _least([frozenset().union(*way) for way in product(*(_ways(child) for child in _children(node)))])


@cache
def _ways_of(name: str) -> Ways:
    """Rules of the level `job` show what other sources report than the one of the alert."""
    recorded = [rule for rule in rules() if not rule.alerts and rule.name == name]
    if recorded:
        ways = [way for rule in recorded for way in _ways(promql_parser.parse(rule.expression))]
        return _least([frozenset(map(of_other_source, way)) for way in ways] if name.startswith("job:") else ways)
    metrics = {metric.name: metric for metric in METRICS}
    for ending in ("", "_bucket", "_sum", "_count"):
        if (base := name.removesuffix(ending)) in metrics:
            return [frozenset({base})]
    assert name in FOREIGN, name
    return [frozenset({name})]


def _narrowed(way: frozenset[str], selector: promql_parser.VectorSelector) -> Ways:
    """Return one way for each label value that the selector matches."""
    asked = {
        each.name: each.value for each in selector.matchers.matchers if str(each.op) in ("MatchOp.Equal", "MatchOp.Re")
    }
    choices = []
    for name in way:
        label, values = _CHOSEN.get(name, ("", ()))
        chosen = [value for value in values if label in asked and re.fullmatch(asked[label], value)]
        choices.append([f'{name}{{{label}="{value}"}}' for value in chosen] or [name])
    return [frozenset(choice) for choice in product(*choices)]


def _children(node: Any) -> Iterator[Any]:
    for name in ("lhs", "rhs", "expr", "param"):
        if (child := getattr(node, name, None)) is not None and not isinstance(child, str):
            yield child
    yield from getattr(node, "args", ())


def _least(ways: Ways) -> Ways:
    """Remove each way that is a superset of another way."""
    return [way for way in set(ways) if not any(other < way for other in ways)]


if __name__ == "__main__":
    FILE.write_text(text())
