"""The roles that the variables of an access log format can have: which column of a row holds the status, and so on."""

from collections.abc import Mapping

from msgspec import Struct

from parsers.access.format import REGULAR, Format
from parsers.values.numbers import SECOND

REQUEST, METHOD, TARGET, PATH, STATUS, BYTES = "request", "method", "target", "path", "status", "bytes"
DURATION, FIRST_BYTE, HANDLER = "duration", "first_byte", "handler"
TIME_EPOCH, TIME_ISO, TIME_COMMON = "time_epoch", "time_iso", "time_common"


class Roles(Struct, frozen=True):
    """The column of each role in a row.

    `unit` is the unit of DURATION and HANDLER, in nanoseconds. With `decimals` the pattern of the format accepts only
    plain decimals as times.
    """

    columns: Mapping[str, int]
    unit: int = SECOND
    decimals: bool = False


def columns_of(format: Format, roles: Mapping[str, str]) -> dict[str, int]:
    """Return the column of each role among the captured variables of a format.

    `roles` gives the role of each variable. If several variables have the same role, the first one in `roles` is used.
    """
    columns: dict[str, int] = {}
    for variable, role in roles.items():
        for suffix in ("", REGULAR):
            if variable + suffix in format.captured:
                columns.setdefault(role + suffix, format.captured.index(variable + suffix))
    return columns
