"""The cut every line-wise parser makes: whole lines now, the rest again later."""


def whole_lines(window: bytes, final: bool) -> tuple[int, int]:
    """Bytes that are whole lines, and how many lines they are. With `final` the last one needs no newline."""
    consumed = len(window) if final else window.rfind(b"\n") + 1
    lines = window.count(b"\n", 0, consumed)
    if consumed and window[consumed - 1] != 0x0A:
        lines += 1
    return consumed, lines
