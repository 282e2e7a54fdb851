"""Group the request heads of many lines, METHOD SP PATH, by their shape (`parsers.access.shapes`) with numpy.

The heads of a group differ only in ids, so one look-up finds the route of them all.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from parsers.access.request_line import HEAD
from parsers.access.shapes import SHAPE, decisive
from parsers.access.words import Flags, Numbers, Texts, Words, each, sums


class Head(NamedTuple):
    """The head of a group and its status code.

    * `text`: the head, with zeros instead of the digits of ids.
    * `mask`: one byte per byte of `text`: 255 where it was kept, 0 where it was replaced by its shape.
    * `is_regular`: whether it is a method and a path, without escapes.
    """

    text: bytes
    mask: bytes
    status: int
    is_regular: bool


def grouped(texts: Texts, statuses: Numbers, is_compared: Callable[[bytes], bool]) -> tuple[list[Head], Numbers, Flags]:
    """Group heads by shape and status. The first head of a group decides which bytes the others must share with it.

    Return the heads of the groups, the number of each line's group, and whether the line belongs to it. The sums only
    suggest the groups: then every byte that decides is compared. `is_compared` is `Routes.compares`.
    """
    shapes = np.frombuffer(texts.words.tobytes().translate(SHAPE), np.dtype("<u8"))
    total = sums(texts, shapes) + statuses.view(np.uint64) * each(0x9D)
    order = total.argsort()
    is_first = np.append(True, np.diff(total[order]) != 0)
    of = np.empty(len(order), np.int64)
    of[order] = np.cumsum(is_first) - 1
    firsts, sizes = order[is_first], np.bincount(of)
    rows = zip(firsts.tolist(), statuses[firsts].tolist(), (sizes == 1).tolist(), strict=True)
    heads = [_head(texts, line, status, None if is_alone else is_compared) for line, status, is_alone in rows]
    lengths = np.array([len(head.text) for head in heads])
    counts = (lengths + 7) // 8
    text, mask = _joined(head.text for head in heads), _joined(head.mask for head in heads)
    is_same = (lengths[of] == texts.lengths) & (np.array([head.status for head in heads])[of] == statuses)
    is_same &= np.array([head.is_regular for head in heads])[of]
    begins = np.where(is_same, (np.cumsum(counts) - counts)[of], 0)
    place = np.minimum(np.repeat(begins, texts.counts) + texts.places, len(text) - 1)
    differs = (shapes ^ ((shapes ^ texts.words) & mask[place])) != text[place]
    if differs.any():
        is_same &= ~np.logical_or.reduceat(differs, texts.begins)
    return heads, of, is_same


def _head(texts: Texts, line: int, status: int, is_compared: Callable[[bytes], bool] | None) -> Head:
    """Return the head of one line. `is_compared` is None for a head that is alone in its group and keeps its ids."""
    begin, length = int(texts.begins[line]), int(texts.lengths[line])
    text = texts.words[begin : begin + int(texts.counts[line])].tobytes()[:length]
    shape = text.translate(SHAPE)
    mask = b"\xff" * length if is_compared is None else decisive(shape, is_compared)
    written, blank, left = (int.from_bytes(part, "little") for part in (text, shape, mask))
    text = (blank ^ ((blank ^ written) & left)).to_bytes(length, "little")
    return Head(text, mask, status, HEAD.fullmatch(shape) is not None)


def _joined(texts: Iterable[bytes]) -> Words:
    """Return the words of texts, one after the other."""
    return np.frombuffer(b"".join([text + bytes(-len(text) % 8) for text in texts]), np.dtype("<u8"))
