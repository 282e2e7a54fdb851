"""What the tail passes to the ledger: windows of bytes, their positions, and rotation events.

A position is all that a restart needs. It has digests of log bytes and never the bytes themselves: the state must not
become a second copy of a log. Only a window, which is never stored, has the bytes before it.
"""

import os
from hashlib import blake2b
from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

from msgspec import Meta, Struct, structs

#: msgspec checks the bound when it decodes a stored position.
Natural = Annotated[int, Meta(ge=0)]

#: Length in bytes of the two fingerprints that identify content: of a file's beginning, and of the bytes before a
#: position.
FINGERPRINT = 256

#: Length in bytes of the fingerprint by which candidates are looked up.
PREFIX = 32

#: `Position.skip`: the bytes up to the next newline belong to a line that was too long.
SKIP_LINE = "line"

Identity = tuple[int, int]


class Fingerprint(Struct, frozen=True, array_like=True, gc=False):
    """The digest and the length of some bytes. The default is the fingerprint of no bytes."""

    digest: bytes = b""
    length: Natural = 0

    @classmethod
    def of(cls, data: bytes) -> "Fingerprint":
        return cls(_digest(data), len(data))

    @property
    def lookup_key(self) -> bytes:
        """Return the digest of PREFIX bytes; b"" for other lengths: shorter content identifies nothing."""
        return self.digest if self.length == PREFIX else b""

    def matches(self, data: bytes) -> bool:
        return len(data) == self.length and _digest(data) == self.digest


class Position(Struct, frozen=True):
    """How far one generation of a log has been posted. `offset` and `size` count uncompressed bytes.

    `path` is the configured path, whatever the name of the file is now. `target` is the target of the path if it was a
    symbolic link. Both are percent-encoded. `skip` says what to discard before the next record: "" or SKIP_LINE.
    `skip_streams` are container streams with a record that began before `offset` and whose other pieces are discarded.
    `prefix`, `head` and `tail` are fingerprints of the first 32 bytes, the first 256 bytes and the 256 bytes before
    `offset`, as far as they were posted. `size` is the last known size. `modified` is the file's last known mtime in
    nanoseconds while the path named it: the ledger has every older generation. `done`: the generation is not read any
    more; the position is kept to recognise its bytes under another name.
    """

    path: str
    number: Natural
    device: Natural
    inode: Natural
    offset: Natural = 0
    skip: str = ""
    prefix: Fingerprint = Fingerprint()
    head: Fingerprint = Fingerprint()
    tail: Fingerprint = Fingerprint()
    size: Natural = 0
    modified: int = 0
    compressed: bool = False
    done: bool = False
    target: str = ""
    skip_streams: tuple[str, ...] = ()

    @property
    def unread(self) -> int:
        return max(0, self.size - self.offset)

    @property
    def identity(self) -> Identity:
        return self.device, self.inode


def encoded(path: str) -> str:
    """Percent-encode a path for a position: a path may be any bytes, a position is text."""
    return quote(os.fsencode(path))


def decoded(path: str) -> str:
    return os.fsdecode(unquote_to_bytes(path))


class Searched(Struct, frozen=True):
    """The percent-encoded paths that were searched completely, so that each file that existed there has a position; and
    the wall clock in nanoseconds until which each log that appeared there was seen. What appears later is new.
    """

    paths: tuple[str, ...] = ()
    until: int = 0


class RotationEvents(Struct, frozen=True):
    """What the ledger counts together with a window, and the keys of the generations that it forgets."""

    rotations: int = 0
    truncations: int = 0
    lost_bytes: int = 0
    forget: tuple[str, ...] = ()


NO_EVENTS = RotationEvents()


class Window(Struct, frozen=True):
    """Bytes of one generation, and the events to count with them.

    `data` begins at `position` of the generation with the key `file`; `before` are the bytes in front of it. `kind` is
    "" for data that a parser must read. `too_long` and `unterminated` are one unparsed line each. `skipped` (the rest
    of a line that was too long) and `hole` (the NULs that a truncation leaves, a byte order mark) are no line. `final`:
    no more bytes will follow. `closes`: the generation is done.
    """

    source: str
    file: str
    position: Position
    data: bytes = b""
    before: bytes = b""
    kind: str = ""
    final: bool = False
    closes: bool = False
    events: RotationEvents = NO_EVENTS

    def after(self, consumed: int, skip_streams: tuple[str, ...] = ()) -> Position:
        """Return the position after the first `consumed` bytes. `skip_streams` are those of the parser's batch."""
        old = self.position
        if not consumed:
            return old if old.done == self.closes else structs.replace(old, done=self.closes)
        passed = self.data[:consumed]
        seen = self.before + passed
        rest_of_line = self.kind in ("too_long", "skipped") and not passed.endswith(b"\n")
        return structs.replace(
            old,
            offset=old.offset + consumed,
            skip=SKIP_LINE if rest_of_line else "",
            skip_streams=old.skip_streams if self.kind else skip_streams,
            prefix=Fingerprint.of(seen[:PREFIX]) if old.offset < PREFIX else old.prefix,
            head=Fingerprint.of(seen[:FINGERPRINT]) if old.offset < FINGERPRINT else old.head,
            tail=Fingerprint.of(seen[-FINGERPRINT:]),
            size=max(old.size, old.offset + consumed),
            done=self.closes,
        )


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest() if data else b""
