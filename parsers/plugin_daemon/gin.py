"""Read gin's access lines (plugin daemon up to 0.5.2) of a whole block at once.

Any other line, or a line that is not exactly as expected, is left to `parsers.plugin_daemon`. A test checks that both
give the same result.
"""

import re
from collections import defaultdict
from collections.abc import Callable

from parsers.batch import Invocation
from parsers.values.http import status_code_of
from parsers.values.numbers import MICROSECOND, MILLISECOND, SECOND, many_nanoseconds

#: The last group is any other line. The distinct times are checked later, each one once.
_LINES = re.compile(
    rb"^\[GIN\] (.{10} - .{8}) \| *+([0-9]{3}) \| *+([0-9]{1,6}+(?:\.[0-9]{1,9}+)?)(ms|s|\xc2\xb5s) \| *+"
    rb'[^ |\n\x1b]*+ *+\| *+[^ "\n\x1b]++ ++"(?:/(?:plugin/[^/"\\\n\x1b]++|v2/invoke)/dispatch(/[^?"\\\n\x1b]*+))?'
    rb'(?:"|[^"\\\n\x1b]*+")\r?$|^(.+)$',
    re.MULTILINE,
)
_TIME = re.compile(rb"\d{4}/\d\d/\d\d - \d\d:[0-5]\d:[0-5]\d")
#: A text that every such line contains. A block without it is not searched by pattern.
_SIGN = b"[GIN] "
_UNITS = {b"s": SECOND, b"ms": MILLISECOND, b"\xc2\xb5s": MICROSECOND}


def read(block: bytes, operation_of: Callable[[bytes], str]) -> tuple[list[Invocation], set[bytes], int, bytes]:
    """Read the access lines of a block of whole lines.

    Return the calls of models and tools, the distinct times as they are written, the number of access lines, and all
    other lines. `operation_of` gives the operation for the end of a dispatch path.
    """
    if _SIGN not in block:
        return [], set(), 0, block
    groups: defaultdict[tuple[bytes, ...], list[bytes]] = defaultdict(list)
    times, rest, count = set[bytes](), list[bytes](), 0
    for time, status, number, unit, end, other in _LINES.findall(block):
        if other:
            rest.append(other)
            continue
        count += 1
        times.add(time)
        if end:
            groups[status, unit, end].append(number)
    if not all(map(_TIME.fullmatch, times)):
        return [], set(), 0, block
    records = [
        _invocation(operation_of(end[1:]), status_code_of(status), many_nanoseconds(numbers, _UNITS[unit]))
        for (status, unit, end), numbers in groups.items()
    ]
    return records, times, count, b"".join([line + b"\n" for line in rest])


def _invocation(operation: str, status_code: str, durations: list[int]) -> Invocation:
    if len(durations) == 1:
        return Invocation(operation, status_code, durations[0])
    return Invocation(operation, status_code, None, len(durations), tuple(durations))
