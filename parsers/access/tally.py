"""Turn columns into records: one request record for all lines of a method, route and status code."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count

import numpy as np

from parsers.access.columns import UNKNOWN, Columns
from parsers.access.request_line import Labels
from parsers.access.roles import BYTES, DURATION, FIRST_BYTE
from parsers.access.routes import Routes
from parsers.access.words import Numbers
from parsers.batch import Request
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import MILLISECOND

#: A sort key is the number of the labels times this, plus the time in milliseconds.
_MAX_TIME = 1 << 40


def requests(parts: Sequence[Columns], variables: Mapping[str, str], routes: Routes) -> tuple[Request, ...]:
    """Return the request records of columns. `variables` gives the variable of each role (parsers/access/roles.py)."""
    labels, of = _labels(parts, routes)
    if not labels:
        return ()
    counts = np.bincount(of, minlength=len(labels)).tolist()
    sizes = _sums(_column(parts, variables.get(BYTES)), of, len(labels))
    durations = _times(_column(parts, variables.get(DURATION)), of, len(labels))
    first_bytes = _times(_column(parts, variables.get(FIRST_BYTE)), of, len(labels))
    return tuple(
        Request(method, route, status, failure_of(status), *values)
        for (method, route, status), *values in zip(labels, counts, sizes, durations, first_bytes, strict=True)
    )


def _labels(parts: Sequence[Columns], routes: Routes) -> tuple[list[Labels], Numbers]:
    """Return the distinct labels, and for each line the number of its labels among them."""
    numbered: defaultdict[Labels, int] = defaultdict(count().__next__)
    of = [
        np.array([numbered[_labels_of(head.text, head.status, routes)] for head in part.heads], np.int64)[part.head_of]
        for part in parts
    ]
    return list(numbered), np.concatenate(of)


def _column(parts: Sequence[Columns], name: str | None) -> Numbers | None:
    return None if name is None else np.concatenate([part.numbers[name] for part in parts])


@lru_cache(maxsize=1024)
def _labels_of(head: bytes, status: int, routes: Routes) -> Labels:
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
