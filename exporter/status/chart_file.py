"""Keeps the points of the charts over a restart: the file `charts` in the state folder.

It is written every few minutes and at the end, without a flush to the disk, because losing it costs only the charts.
Counters and positions are in the state, which persistence/ writes.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from exporter.process.special_files import refuse_special
from exporter.status.history import Point

NAME = "charts"

_log = logging.getLogger(__name__)
_Points = Mapping[str, Sequence[Point]]


def save(folder: Path, points: _Points) -> None:
    """Replace the file. Times are stored on the wall clock, because the monotonic one begins anew with the machine."""
    new, data = folder / f"{NAME}.new", msgspec.msgpack.encode(_shifted(points, time.time() - time.monotonic()))
    try:
        refuse_special(new)
        new.write_bytes(data)
        os.replace(new, folder / NAME)
    except OSError as error:  # only debug: the commit of the state already reports a folder that cannot be written
        _log.debug("the charts are not saved: %s", error)


def load(folder: Path) -> dict[str, list[Point]]:
    """The points of the file by the name of their range, without points in the future; empty if it cannot be used."""
    try:
        refuse_special(folder / NAME)
        stored = msgspec.msgpack.decode((folder / NAME).read_bytes(), type=dict[str, list[Point]])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("the charts of the status page begin anew: %s: %s", folder / NAME, error)
        return {}
    now = time.monotonic()
    found = _shifted(stored, now - time.time())
    return {name: [point for point in points if point.at <= now] for name, points in found.items()}


def _shifted(points: _Points, seconds: float) -> dict[str, list[Point]]:
    return {name: [Point(point.at + seconds, point.totals) for point in each] for name, each in points.items()}
