"""What envelopes store around a line, so that a parser can read the line where it is stored, without unwrapping it."""

from collections.abc import Callable

from msgspec import Struct

#: Stands for any digit in the head of a frame. A block with a NUL byte is always unwrapped first.
ANY_DIGIT = 0


class Frame(Struct, frozen=True):
    """What is stored around the content of a physical line. A line with the same texts has the same frame.

    * `head`: the text before the content.
    * `tail`, `end`: the beginning and the end of the text behind it. What is between them does not matter.
    * `excluded`: offsets in the content, each with a byte: a content with this byte there needs the usual way.
    """

    head: bytes
    tail: bytes = b""
    end: bytes = b""
    excluded: tuple[tuple[int, int], ...] = ()


#: Returns the frame of a physical line, without its newline; None if its content is no whole line in the usual form.
FrameOf = Callable[[bytes], Frame | None]
