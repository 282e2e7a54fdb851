"""Read gin's access lines (plugin daemon up to 0.5.2) of a whole block at once.

Any other line, or a line that is not exactly as expected, is left to `parsers.plugin_daemon`. A test checks that both
give the same result.
"""

import re
from collections import defaultdict
from datetime import tzinfo

from parsers.blocks import BlockResult
from parsers.lines import whole_lines
from parsers.plugin_daemon.access import invocation
from parsers.plugin_daemon.operations import operation_of_end
from parsers.values.http import status_code_of
from parsers.values.numbers import MICROSECOND, MILLISECOND, SECOND, many_nanoseconds
from parsers.values.patterns import lazy
from parsers.values.times import iso

#: The last group is any other line. The distinct times are checked later, each one once.
_LINES = lazy(
    rb"^\[GIN\] (.{10} - .{8}) \| *+([0-9]{3}) \| *+([0-9]{1,6}+(?:\.[0-9]{1,9}+)?)(ms|s|\xc2\xb5s) \| *+"
    rb'[^ |\n\x1b]*+ *+\| *+[^ "\n\x1b]++ ++"(?:/(?:plugin/[^/"\\\n\x1b]++|v2/invoke)/dispatch(/[^?"\\\n\x1b]*+))?'
    rb'(?:"|[^"\\\n\x1b]*+")\r?$|^(.+)$',
    re.MULTILINE,
)
_TIME = lazy(rb"\d{4}/\d\d/\d\d - \d\d:[0-5]\d:[0-5]\d")
#: A text that every such line contains. A block without it is not searched by pattern.
_SIGN = b"[GIN] "
_UNITS = {b"s": SECOND, b"ms": MILLISECOND, b"\xc2\xb5s": MICROSECOND}


def read(block: bytes, local: tzinfo) -> BlockResult:
    """Read the access lines of a block of whole lines. `local` is the zone of their times."""
    if _SIGN not in block:
        return BlockResult((), (), 0, block)
    groups: defaultdict[tuple[bytes, bytes, str], list[bytes]] = defaultdict(list)
    found, times, others = _LINES.findall(block), set[bytes](), list[bytes]()
    for time, status, number, unit, end, other in found:
        if other:
            others.append(other + b"\n")
            continue
        times.add(time)
        if end:
            groups[status, unit, operation_of_end(end[1:])].append(number)
    known = [iso(time.replace(b" - ", b" "), local) for time in times if _TIME.fullmatch(time)]
    if (
        not times or None in known or len(known) < len(times)
    ):  # the reader of single lines counts how many lines have a wrong time
        return BlockResult((), (), 0, block)
    records = [
        invocation(operation, status_code_of(status), many_nanoseconds(numbers, _UNITS[unit]))
        for (status, unit, operation), numbers in groups.items()
    ]
    rest = b"".join(others) + b"\n" * (whole_lines(block, True)[1] - len(found))
    return BlockResult(records, known, len(found) - len(others), rest)
