"""Shapes: find the route of many request paths at once, whatever ids they contain.

Half of the requests of Dify's console have a new id, so a cache of paths would not help, and a client could fill it.
The shape of a path is the path with all hexadecimal digits replaced by `0`. Paths of one shape are equally long and
have their segments at the same offsets. They share a route if they also agree in those segments that the route table
compares; all other segments can only be parameters.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

_DIGITS = b"0123456789abcdef"

#: The table for `bytes.translate` that turns a text into its shape: `0` for every lower-case hexadecimal digit.
SHAPE = bytes.maketrans(_DIGITS, b"0" * len(_DIGITS))


@lru_cache(maxsize=1024)
def decisive(shape: bytes, is_compared: Callable[[bytes], bool]) -> bytes:
    """Return a mask of the bytes that decide the route among the texts of a shape: 255 for each of them, 0 for others.

    `is_compared` says whether the route table compares a segment (`Routes.compares`). A text may have a method before
    the path. Every byte of a segment with escapes decides, and every byte of a text that has more than a path.
    """
    if any(mark in shape for mark in (b"\\", b"?", b"#")):
        return b"\xff" * len(shape)
    return b"\xff".join(
        [(b"\xff" if b"%" in part or is_compared(part) else b"\0") * len(part) for part in shape.split(b"/")]
    )


def share_route(texts: Sequence[bytes], is_compared: Callable[[bytes], bool]) -> bool:
    """Return whether texts of one shape certainly have the same route. `is_compared` is that of `decisive`.

    The result is False for empty texts, which stand for request lines that are not regular.
    """
    first, length, count = texts[0], len(texts[0]), len(texts)
    together = b"".join(texts)
    return bool(first) and all(
        together[at::length] == first[at : at + 1] * count
        for at, decides in enumerate(decisive(first.translate(SHAPE), is_compared))
        if decides and first[at] in _DIGITS
    )
