"""Keeps the points of the charts over a restart: the file `charts` in the state folder.

It is written every few minutes and at the end, without a flush to the disk, because losing it costs only the charts.
Counters and positions are in the state, which persistence/ writes.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from exporter.process.special_files import refuse_special
from exporter.status.history import RANGES, Point

NAME = "charts"

#: The largest file that is read, in MiB. A thousand sources need half of it.
_MAX_SIZE = 64

_log = logging.getLogger(__name__)
_Points = Mapping[str, Sequence[Point]]


def save(folder: Path, points: _Points) -> None:
    """Replace the file. Times are stored by the wall clock, because the monotonic one starts with the machine."""
    new, data = folder / f"{NAME}.new", msgspec.msgpack.encode(_shifted(points, time.time() - time.monotonic()))
    try:
        new.unlink(missing_ok=True)
        with open(new, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(data)
        os.replace(new, folder / NAME)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # on a full disk the state needs the space
        # Only debug: the commit of the state already reports a folder that cannot be written.
        _log.debug("the charts are not saved: %s", error)


def load(folder: Path) -> dict[str, list[Point]]:
    """The points of the file by the name of their range, without points in no range (of the future or too old); empty
    if it cannot be used.
    """
    try:
        refuse_special(folder / NAME)
        with (folder / NAME).open("rb") as file:
            if os.fstat(file.fileno()).st_size > _MAX_SIZE << 20:
                raise OSError(f"it is larger than {_MAX_SIZE} MiB")
            stored = msgspec.msgpack.decode(file.read(), type=dict[str, list[Point]])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("the charts of the status page start empty: %s: %s", folder / NAME, error)
        return {}
    now = time.monotonic()
    oldest, found = now - max(RANGES.values()), _shifted(stored, now - time.time())
    return {name: [p for p in points if oldest <= p.at <= now] for name, points in found.items() if name in RANGES}


def _shifted(points: _Points, seconds: float) -> dict[str, list[Point]]:
    return {name: [Point(point.at + seconds, point.totals) for point in each] for name, each in points.items()}
