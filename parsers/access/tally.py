"""Turn columns into records: one request record for all lines of a method, route and status code."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from itertools import count

import numpy as np

from parsers.access.columns import UNKNOWN, Columns
from parsers.access.request_line import Labels
from parsers.access.routes import Routes
from parsers.access.words import Numbers
from parsers.batch import Request
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import MILLISECOND

#: A key is the number of a head times this, plus the status code.
_STATUS_CODES = 1000
#: A sort key is the number of the labels times this, plus the time in milliseconds.
_MAX_TIME = 1 << 40


def requests(columns: Columns, variables: Mapping[str, str], routes: Routes) -> tuple[Request, ...]:
    """Return the request records of columns. `variables` gives the variable of each role (parsers/access/roles.py)."""
    if not len(columns.head_of):
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
    key_of = columns.head_of * _STATUS_CODES + statuses
    keys = np.flatnonzero(np.bincount(key_of))
    numbered: defaultdict[Labels, int] = defaultdict(count().__next__)
    table = np.empty(keys[-1] + 1, np.int64)
    table[keys] = [numbered[_label(columns.heads[key // _STATUS_CODES], key % _STATUS_CODES, routes)] for key in keys.tolist()]
    return list(numbered), table[key_of]


@lru_cache(maxsize=1024)
def _label(head: bytes, status: int, routes: Routes) -> Labels:
    method, _, target = head.partition(b" ")
    return method_of(method), routes.of_target(target), status_code_of(b"%03d" % status)


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
    values = ((ordered & (_MAX_TIME - 1)) * MILLISECOND).tolist()
    return [tuple(values[begin:end]) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
