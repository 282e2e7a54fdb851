"""The logs that `init` finds: those that can be tailed, and those that cannot."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class FoundLog(Struct, frozen=True):
    """A log that can be tailed.

    `path` and `options` are the keys of its `[[source]]`, and `origin` says where it was found.
    """

    name: str
    path: str
    options: Mapping[str, Any]
    origin: str


class UnusableLog(Struct, frozen=True):
    """A log that cannot be tailed. `what` is the directive that names it, `where` the place of the directive.

    `why` is the reason. `path` is "" if the log is not a file.
    """

    what: str
    where: str
    why: str
    path: str = ""
