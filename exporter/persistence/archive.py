"""The archive of closed days: `history.db` in the state folder, a SQLite database with one row per day and source.

A day is written once, whole, by `INSERT OR REPLACE` in one transaction. It leaves the state only after that, so a crash
in between writes the same row again. Only the report reads it. A file that cannot be used is set aside, and a new one
begins; days that cannot be written stay in the state.

A row is never replaced by one of fewer lines. Such a row comes from a source that lost its state, or that was not
configured for a part of the day. It then read only a part of the day's lines again.
"""

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from exporter.ledger.book import LINES, BookKey, Entries, Entry
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Labels
from exporter.ledger.state import widened
from exporter.process.special_files import refuse_special

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

#: What a damaged book raises.
_DAMAGES = (zlib.error, msgspec.MsgspecError, TypeError)

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
        today = datetime.fromtimestamp(self._clock(), UTC).toordinal()
        try:
            self._write(books, date.fromordinal(max(1, today - ledger.history_days)).isoformat())
        except Exception as error:  # of any kind: the thread that commits must not end
            if not self._is_failing:
                reason = error.strerror if isinstance(error, OSError) else error
                log.error("%s cannot be written: %s; closed days stay in the state until it can", self._path, reason)
            self._is_failing = True
            return
        if self._is_failing:
            log.info("%s can be written again", self._path)
        self._is_failing = False
        ledger.forget_days(books)

    def _write(self, books: Mapping[BookKey, Entries], oldest: str) -> None:
        try:
            self._insert(books, oldest)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(str(error))
            self._insert(books, oldest)

    def _insert(self, books: Mapping[BookKey, Entries], oldest: str) -> None:
        refuse_special(self._path)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT)) as database, database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"its version is {version}, this exporter reads {_VERSION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute(_TABLE)
            rows = [(*key, _encode(book)) for key, book in books.items() if not _has_more(database, key, book)]
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
    try:
        refuse_special(path)
        if not path.exists():
            return {}, []
        # Only a writable connection can roll back the incomplete transaction of a killed process.
        mode = "rw" if os.access(path, os.W_OK) else "ro"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT)) as database:
            for timezone, day, source, book in database.execute("SELECT timezone, day, source, book FROM days"):
                try:
                    books[timezone, day, source] = _decode(book)
                except _DAMAGES:
                    damaged += 1
    except (OSError, sqlite3.Error) as error:
        return books, [f"{path} cannot be used: {error}"]
    return books, [f"{path}: {damaged} days are damaged and left out"] if damaged else []


def _has_more(database: sqlite3.Connection, key: BookKey, entries: Entries) -> bool:
    stored = database.execute("SELECT book FROM days WHERE (timezone, day, source) = (?, ?, ?)", key).fetchone()
    try:
        return stored is not None and lines_of(_decode(*stored)) > lines_of(entries)
    except _DAMAGES:
        return False


def lines_of(entries: Entries) -> int:
    lines = entries.get((LINES,), 0)
    return 0 if isinstance(lines, dict) else int(lines)


def _encode(entries: Entries) -> bytes:
    try:
        text = msgspec.msgpack.encode(entries)
    except OverflowError:
        text = msgspec.msgpack.encode(widened(entries))
    return zlib.compress(text)


def _decode(book: bytes) -> dict[Labels, Entry]:
    return msgspec.msgpack.decode(zlib.decompress(book), type=dict[Labels, Entry])
