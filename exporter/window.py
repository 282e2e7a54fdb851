"""A window of bytes of one file generation, and the position it begins at.

A position is all that a restart needs. It holds digests of log bytes and never the bytes: the state must not
become a second copy of a log. Only a window, which lives in memory, knows the bytes before it.
"""

from hashlib import blake2b
from typing import Annotated

from msgspec import Meta, Struct, structs

#: Checked where a position is decoded: a stored one may be anything.
Natural = Annotated[int, Meta(ge=0)]

#: Bytes just before a position that must still be there, and of a file's beginning.
MARKER = 256


def digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest() if data else b""


class Position(Struct, frozen=True):
    """How far one generation of a file has been posted; `offset` counts uncompressed bytes.

    `path` is the configured path, percent-encoded, whatever the generation is called now; `target` is what it
    led to where it was a symbolic link, percent-encoded too. `skipping`: the bytes up to the next newline belong to
    a line that was too long. `size` in bytes is what was last known of the file, `modified` (mtime in nanoseconds)
    too, while the path named it: every generation older than that is in the ledger. `done`: given up, kept only so
    that its bytes are recognised when they turn up under another name.
    """

    path: str
    number: Natural
    device: Natural
    inode: Natural
    offset: Natural = 0
    skipping: bool = False
    head: bytes = b""
    head_length: Natural = 0
    marker: bytes = b""
    marker_length: Natural = 0
    size: Natural = 0
    modified: int = 0
    compressed: bool = False
    done: bool = False
    target: str = ""

    @property
    def unread(self) -> int:
        return max(0, self.size - self.offset)


class News(Struct, frozen=True):
    """What is to be counted, and which generations forgotten, together with a window."""

    rotations: int = 0
    truncations: int = 0
    lost_bytes: int = 0
    forget: tuple[str, ...] = ()


class Window(Struct, frozen=True):
    """`data` begins at `position` of the generation `file`; `before` are the bytes in front of it.

    `verdict` is "" where a parser has to look; `too_long`, `unterminated`: one unparsed line; `skipped`, `hole`:
    no line at all (the rest of a too long one, the NULs that a truncation leaves). With `final` nothing more
    will come, with `closes` the generation is given up.
    """

    source: str
    file: str
    position: Position
    data: bytes = b""
    before: bytes = b""
    verdict: str = ""
    final: bool = False
    closes: bool = False
    rotations: int = 0
    truncations: int = 0
    lost_bytes: int = 0
    forget: tuple[str, ...] = ()

    def after(self, consumed: int) -> Position:
        """The position behind the first `consumed` bytes."""
        if not consumed:
            return structs.replace(self.position, done=self.closes)
        old, passed = self.position, self.data[:consumed]
        seen = self.before + passed
        marker = seen[-MARKER:]
        in_head = old.offset < MARKER
        return structs.replace(
            old,
            offset=old.offset + consumed,
            skipping=self.verdict in ("too_long", "skipped") and not passed.endswith(b"\n"),
            head=digest(seen[:MARKER]) if in_head else old.head,
            head_length=min(MARKER, len(seen)) if in_head else old.head_length,
            marker=digest(marker),
            marker_length=len(marker),
            size=max(old.size, old.offset + consumed),
            done=self.closes,
        )
