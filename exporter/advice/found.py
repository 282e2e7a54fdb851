"""What `init` finds, and what it finds and cannot use."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Found(Struct, frozen=True):
    """`path` as a `[[source]]` would name it, `options` the table's other keys, `origin` a few words on why."""

    name: str
    path: str
    options: Mapping[str, Any]
    origin: str


class LeftOut(Struct, frozen=True):
    """A log that is not in the configuration: what names it, where, and why it cannot be tailed as it is. `path` is ""
    where it is no file.
    """

    what: str
    where: str
    why: str
    path: str = ""
