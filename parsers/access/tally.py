"""Turn columns into records: one request record for all lines of a method, route and status code."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import count

import numpy as np

from parsers.access.columns import UNKNOWN, Columns, Numbers
from parsers.access.request_line import Labels
from parsers.access.routes import Routes
from parsers.access.shapes import share_route
from parsers.batch import Request
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import MILLISECOND

#: A key is the number of a shape times this, plus the status code.
_STATUS_CODES = 1000
#: A sort key is the number of the labels times this, plus the time in milliseconds.
_MAX_TIME = 1 << 40


def requests(columns: Columns, variables: Mapping[str, str], routes: Routes) -> tuple[Request, ...]:
    """Return the request records of columns. `variables` gives the variable of each role (parsers/access/roles.py)."""
    if not columns.heads:
        return ()
    numbers = {role: columns.numbers.get(variables.get(role, "")) for role in ("bytes", "duration", "first_byte")}
    labels, of = _labels(columns, columns.numbers[variables["status"]], routes)
    counts = np.bincount(of, minlength=len(labels)).tolist()
    sizes = _sums(numbers["bytes"], of, len(labels))
    durations = _times(numbers["duration"], of, len(labels))
    first_bytes = _times(numbers["first_byte"], of, len(labels))
    return tuple(
        Request(method, route, status, failure_of(status), *values)
        for (method, route, status), *values in zip(labels, counts, sizes, durations, first_bytes, strict=True)
    )


def _labels(columns: Columns, statuses: Numbers, routes: Routes) -> tuple[list[Labels], Numbers]:
    """Return the distinct labels, and for each line the number of its labels among them."""
    numbered: defaultdict[Labels, int] = defaultdict(count().__next__)
    shapes: defaultdict[bytes, int] = defaultdict(count().__next__)
    shape_of = np.fromiter(map(shapes.__getitem__, columns.shapes), np.int64, len(columns.shapes))
    key_of = shape_of * _STATUS_CODES + statuses
    order = np.argsort(key_of, kind="stable")
    keys, begins = np.unique(key_of[order], return_index=True)
    members = np.split(order, begins[1:])
    of = np.empty(len(key_of), np.int64)
    for key, lines in zip(keys.tolist(), members, strict=True):
        status = status_code_of(b"%03d" % (key % _STATUS_CODES))
        heads = [columns.heads[line] for line in lines.tolist()]
        if share_route(heads, routes.compares):
            of[lines] = numbered[_method_and_route(heads[0], status, routes)]
        else:
            known = {head: numbered[_method_and_route(head, status, routes)] for head in set(heads)}
            of[lines] = [known[head] for head in heads]
    return list(numbered), of


def _method_and_route(head: bytes, status: str, routes: Routes) -> Labels:
    method, _, target = head.partition(b" ")
    return method_of(method), routes.of_target(target), status


def _sums(sizes: Numbers | None, of: Numbers, labels: int) -> list[int | None]:
    """Return the sum of sizes per labels. It is exact, because the sum of a block is far below 2^53."""
    if sizes is None:
        return [None] * labels
    return [int(total) for total in np.bincount(of, weights=sizes, minlength=labels)]


def _times(times: Numbers | None, of: Numbers, labels: int) -> list[tuple[int, ...]]:
    """Return the known times per labels, in nanoseconds, sorted. One sort orders the labels and the times at once."""
    if times is None:
        return [()] * labels
    known = times != UNKNOWN
    ordered = np.sort(of[known] * _MAX_TIME + times[known])
    ends = np.searchsorted(ordered, np.arange(1, labels + 1) * _MAX_TIME).tolist()
    values = (ordered % _MAX_TIME * MILLISECOND).tolist()
    return [tuple(values[begin:end]) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
