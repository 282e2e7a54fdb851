"""The archive of closed days: `history.db` in the state folder, a SQLite database with one row per day and source.

A day is written once, whole, by `INSERT OR REPLACE` in one transaction. It leaves the state only after that, so a crash
in between writes the same row again. Only the report reads it. A file that cannot be used is set aside, and a new one
begins; days that cannot be written stay in the state.
"""

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from exporter.ledger.history import BookKey, Entries, Entry
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Labels
from exporter.ledger.state import widened

NAME = "history.db"

#: The version of the table, in SQLite's `user_version`.
_VERSION = 1

#: Seconds to wait for a report that reads the file.
_BUSY_TIMEOUT = 1.0

_TABLE = """
CREATE TABLE IF NOT EXISTS days (
    timezone TEXT NOT NULL, day TEXT NOT NULL, source TEXT NOT NULL, book BLOB NOT NULL,
    PRIMARY KEY (timezone, day, source)
) WITHOUT ROWID
"""

log = logging.getLogger(__name__)


class Archive:
    """Writes the closed days of a ledger. `clock` gives the wall clock in seconds. Only one thread uses it."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._path = folder / NAME
        self._clock = clock
        self._is_failing = False

    def store(self, ledger: Ledger) -> None:
        """Move the closed days of a ledger into the archive. If they cannot be written, they stay in the state."""
        books = ledger.closed_days()
        if not books:
            return
        oldest = datetime.fromtimestamp(self._clock(), UTC).date() - timedelta(days=ledger.history_days)
        try:
            self._write(books, oldest.isoformat())
        except (OSError, sqlite3.Error) as error:
            if not self._is_failing:
                log.error("%s cannot be written: %s; closed days stay in the state until it can", self._path, error)
            self._is_failing = True
            return
        if self._is_failing:
            log.info("%s can be written again", self._path)
        self._is_failing = False
        ledger.forget_days(books)

    def _write(self, books: Mapping[BookKey, Entries], oldest: str) -> None:
        rows = [(*key, _encode(entries)) for key, entries in books.items()]
        try:
            self._insert(rows, oldest)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(str(error))
            self._insert(rows, oldest)

    def _insert(self, rows: list[tuple[str, str, str, bytes]], oldest: str) -> None:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT)) as database, database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"its version is {version}, this exporter reads {_VERSION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute(_TABLE)
            database.executemany("INSERT OR REPLACE INTO days VALUES (?, ?, ?, ?)", rows)
            database.execute("DELETE FROM days WHERE day < ?", (oldest,))

    def _set_aside(self, reason: str) -> None:
        """Rename a file that cannot be used, together with its journal, which must never meet another file."""
        for path in (self._path, Path(f"{self._path}-journal")):
            if path.exists():
                path.replace(f"{path}.damaged")
        log.error("%s cannot be used: %s; it was set aside as %s.damaged", self._path, reason, self._path.name)


def read(folder: Path) -> tuple[dict[BookKey, Entries], list[str]]:
    """All days of the archive in a state folder, and one sentence for each damage."""
    path, books, damaged = folder / NAME, dict[BookKey, Entries](), 0
    if not path.exists():
        return {}, []
    try:
        with _reading(path) as database:
            for timezone, day, source, book in database.execute("SELECT timezone, day, source, book FROM days"):
                try:
                    books[timezone, day, source] = _decode(book)
                except (zlib.error, msgspec.MsgspecError, TypeError):
                    damaged += 1
    except (OSError, sqlite3.Error) as error:
        return books, [f"{path} cannot be used: {error}"]
    return books, [f"{path}: {damaged} days are damaged and left out"] if damaged else []


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT)) as database:
        yield database


def _encode(entries: Entries) -> bytes:
    try:
        text = msgspec.msgpack.encode(entries)
    except OverflowError:
        text = msgspec.msgpack.encode(widened(entries))
    return zlib.compress(text)


def _decode(book: bytes) -> dict[Labels, Entry]:
    return msgspec.msgpack.decode(zlib.decompress(book), type=dict[Labels, Entry])
