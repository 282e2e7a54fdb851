"""A block of lines as bytes and as words of eight bytes, so that numpy reads the same place of many lines at once."""

import numpy as np

from parsers.access.words import Flags, Numbers, Words, each, every_word
from parsers.frame import ANY_DIGIT

#: The number of bytes before a block, and behind it.
BEFORE, BEHIND = 8, 256

_NEWLINE = ord("\n")


class Block:
    """A word of eight bytes may begin anywhere, so the block has padding on both sides."""

    def __init__(self, block: memoryview) -> None:
        end = b"" if block[-1] == _NEWLINE else b"\n"
        self.data = b"".join((bytes(BEFORE), block, end, bytes(BEHIND)))
        self.bytes = np.frombuffer(self.data, np.uint8)
        self.words: Words = every_word(self.data)

    def equals(self, at: Numbers, text: bytes, *, has_digits: bool = False) -> Flags:
        """Return for each offset whether this text begins there. With `has_digits` ANY_DIGIT in it is any digit."""
        if len(text) == 1:
            is_byte: Flags = self.bytes[at] == text[0]
            return is_byte
        found = np.ones(len(at), bool)
        for begin in range(0, len(text), 8):
            part = text[begin : begin + 8]
            word = self.words[at + begin]
            if len(part) < 8:
                word &= np.uint64((1 << 8 * len(part)) - 1)
            if has_digits and ANY_DIGIT in part:
                word ^= np.uint64(int.from_bytes(part.replace(b"\0", b"0"), "little"))
                limits = bytes(0x80 - 10 if byte == ANY_DIGIT else 0x7F for byte in part)
                word |= word + np.uint64(int.from_bytes(limits, "little"))
                found &= word & each(0x80) == 0
            else:
                found &= word == np.uint64(int.from_bytes(part, "little"))
        return found

    def numbers_at(self, end: Numbers, width: Numbers, *, has_milliseconds: bool) -> tuple[Numbers, Flags]:
        """Return the numbers before these offsets, and which of them have at most eight decimal digits.

        With `has_milliseconds` one of them is a dot, with three digits behind it. The first digit is the lowest byte of
        a word. Neighbours are combined: bytes to pairs, pairs to fours, fours to one number.
        """
        word = self.words[end - 8] ^ each(0x30)
        before = np.clip(8 - width, 0, 7).astype(np.uint64) * np.uint64(8)
        word = word >> before << before
        least, fits = 1, width <= 8
        if has_milliseconds:
            least = 5
            fits &= (word >> np.uint64(32)) & np.uint64(0xFF) == ord(".") ^ 0x30
            word = ((word & np.uint64(0xFFFFFFFF)) << np.uint64(8)) | (word & np.uint64(0xFFFFFF << 40))
        fits &= (width >= least) & ((word | (word + each(0x80 - 10))) & each(0x80) == 0)
        for digits, mask in ((1, 0x00FF00FF00FF00FF), (2, 0x0000FFFF0000FFFF), (4, 0xFFFFFFFF)):
            word = (word * np.uint64(10**digits) + (word >> np.uint64(8 * digits))) & np.uint64(mask)
        return word.view(np.int64), fits
