"""Detects the encoding of a log that is not UTF-8."""

import re

UTF_8_BOM = b"\xef\xbb\xbf"

_BOMS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

_HOLE = re.compile(rb"\0{3,}")

#: How many bytes are checked.
_LOOK = 4096


def encoding_of(data: bytes, offset: int = 0) -> str:
    """Return the name of an unsupported encoding, `binary`, or "" for UTF-8. `offset` is the file offset of `data`.

    UTF-16 text has a NUL beside almost every ASCII character, so it is detected without a byte order mark, too. A run
    of NULs may be a hole that a truncation or a power loss left in a log, so it counts as one NUL.
    """
    marked = next((name for bom, name in _BOMS.items() if data.startswith(bom)), "") if not offset else ""
    text = data.lstrip(b"\0")[:_LOOK]
    without_holes = _HOLE.sub(b"\0", text)
    if marked or 10 * without_holes.count(b"\0") <= len(without_holes):
        return marked
    first = offset + len(data) - len(data.lstrip(b"\0"))
    even, odd = text[first % 2 :: 2].count(b"\0"), text[1 - first % 2 :: 2].count(b"\0")
    if 10 * min(even, odd) < max(even, odd):
        return "UTF-16BE" if even > odd else "UTF-16LE"
    return "binary"


def remedy(encoding: str) -> str:
    if encoding == "binary":
        return "more than a tenth of its bytes are NUL: name a log"
    return (
        "only UTF-8 is read: write the log with `Out-File -Encoding utf8` instead of PowerShell's `>`, or convert it "
        f"with `iconv -f {encoding} -t UTF-8`"
    )
