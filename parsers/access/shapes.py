"""Shapes: many request paths with one answer, whatever the ids in them.

Half of a console's requests carry an id that nobody has seen before, so no cache of paths would hit, and a client
could fill it. A shape is a path with one character for every hexadecimal digit: paths of one shape are equally long
and their segments stand at the same places. They share a route if they also agree in those segments that the
table of routes reads; the others can only be parameters.
"""

from collections.abc import Callable, Sequence

_DIGITS = b"0123456789abcdef"

#: The table that makes a shape of a text by `bytes.translate`: `0` for every hexadecimal digit in lower case.
SHAPE = bytes.maketrans(_DIGITS, b"0" * len(_DIGITS))


def alike(texts: Sequence[bytes], is_read: Callable[[bytes], bool]) -> bool:
    """Whether texts of one shape have one route. `is_read` tells of a segment whether the table of routes reads it.

    A method may stand before the path. A text that is escaped, or more than a path, is better looked at by itself.
    """
    first, length, count = texts[0], len(texts[0]), len(texts)
    if not first or any(mark in first for mark in (b"%", b"\\", b"?", b"#")):
        return False
    together = b"".join(texts)
    place = 0
    for segment in first.split(b"/"):
        if is_read(segment):
            for at in range(place, place + len(segment)):
                if first[at] in _DIGITS and together[at::length] != first[at : at + 1] * count:
                    return False
        place += len(segment) + 1
    return True
