"""Shapes: find the route of many request paths at once, whatever ids they contain.

Half of the requests of Dify's console have a new id, so a cache of paths would not help, and a client could fill it.
The shape of a path is the path with all hexadecimal digits replaced by `0`. Paths of one shape are equally long and
have their segments at the same offsets. They share a route if they also agree in those segments that the route table
compares; all other segments can only be parameters.
"""

from collections.abc import Callable, Sequence

_DIGITS = b"0123456789abcdef"

#: The table for `bytes.translate` that turns a text into its shape: `0` for every lower-case hexadecimal digit.
SHAPE = bytes.maketrans(_DIGITS, b"0" * len(_DIGITS))


def share_route(texts: Sequence[bytes], is_compared: Callable[[bytes], bool]) -> bool:
    """Return whether texts of one shape certainly have the same route.

    `is_compared` says whether the route table compares a segment (`Routes.compares`). A text may have a method before
    the path. The result is False for a text with escapes or with more than a path.
    """
    first, length, count = texts[0], len(texts[0]), len(texts)
    if not first or any(mark in first for mark in (b"%", b"\\", b"?", b"#")):
        return False
    together = b"".join(texts)
    begin = 0
    for segment in first.split(b"/"):
        if is_compared(segment):
            for at in range(begin, begin + len(segment)):
                if first[at] in _DIGITS and together[at::length] != first[at : at + 1] * count:
                    return False
        begin += len(segment) + 1
    return True
