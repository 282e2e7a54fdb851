"""The patterns of formats: where a value ends, and in what time it is found."""

import time

import pytest

from parsers.access.format import Extent, Format, FormatPiece, Variable, compiled

WANTED = frozenset("abc")


def read(pieces: list[FormatPiece], line: bytes, quoting: str = "default") -> list[bytes] | None:
    match = compiled(pieces, WANTED, quoting).pattern.fullmatch(line)
    return list(match.groups()) if match else None


A, B, C = Variable("a"), Variable("b"), Variable("c")
FIRST, LAST, LISTS = Variable("a", Extent.FIRST), Variable("a", Extent.LAST), Variable("a", Extent.LIST)
DIGITS = Variable("b", shape=rb"[0-9]++")
PATH, QUERY = Variable("a", begins=b"/"), Variable("c", begins=b"?")


@pytest.mark.parametrize(
    ("pieces", "line", "values"),
    [
        ([A, b" ", B], b"x y", [b"x", b"y"]),
        ([A, b" ", B], b" ", [b"", b""]),
        ([A, b" ", B], b"x y z", [b"x", b"y z"]),
        ([A, b"|", B], b"x y|z", [b"x y", b"z"]),
        ([A, b"^", B, b"]-", C], b"x^y]-z", [b"x", b"y", b"z"]),
        ([A, b"\t", B], b"x\ty\r", [b"x", b"y"]),
        ([b"a=", A, b";"], b"a=1;", [b"1"]),
        ([b"a=", A, b";"], b"a=1", None),
        ([b"a=", A, b";"], b"b=1;", None),
        ([A, b" ", A], b"x y", [b"x"]),
        ([Variable("x"), b" ", A], b"x y", [b"y"]),
        ([FIRST, b" ", DIGITS, b"-"], b"x y 1-", [b"x y", b"1"]),
        ([FIRST, b" [", B, b"]"], b"x [ y [z]", [b"x", b" y [z"]),
        ([LAST, b" ", B], b"x y z", [b"x y", b"z"]),
        ([LAST, b"|", DIGITS], b"x|1|2", [b"x|1", b"2"]),
        ([LAST, b" ", Variable("b", Extent.LAST), b" ", C], b"1 2 3 4", [b"1 2", b"3", b"4"]),
        ([LAST, b" ", Variable("b", Extent.LAST), b" ", DIGITS], b"1 2 3", [b"1", b"2"]),
        ([LAST, b" | ", DIGITS, b" | ", C, b" | "], b"x y | 1 | a b | ", [b"x y", b"1", b"a b"]),
        ([LAST, b" | ", DIGITS, b" | ", C, b" | "], b"x | 1 | 2 | a b | ", [b"x | 1", b"2", b"a b"]),
        ([LAST, b" a=", B, b" b=", C], b"x y a=1 2 b=3", [b"x y", b"1 2", b"3"]),
        ([LAST, b" ", B, b" [", C, b"]"], b"1 2 3 [4 5]", [b"1 2", b"3", b"4 5"]),
        ([b'"', LAST, b'" ', Variable("b", Extent.LIST), b" ", C], b'"x y" 1, 2 z', [b"x y", b"1, 2", b"z"]),
        ([LISTS, b" ", B], b"0.000, 0.003 z", [b"0.000, 0.003", b"z"]),
        ([LISTS, b" ", B], b"0.1, 0.2 : -, 0.3 z", [b"0.1, 0.2 : -, 0.3", b"z"]),
        ([LISTS, b" ", B], b" z", [b"", b"z"]),
        ([Variable("a", Extent.CLIENTS), b" ", B], b"1, 2 z", [b"1, 2", b"z"]),
        ([Variable("a", Extent.CLIENTS), b" - ", B], b"1 2, - 3", [b"1 2,", b"3"]),
        ([b"[", FIRST, b"]"], b"[x [y] z]", [b"x [y] z"]),
        ([b"{", LISTS, b",", B, b"}"], b"{0.0, 0.3,x}", [b"0.0", b" 0.3,x"]),
        ([b"{", LISTS, b', "b":', B, b"}"], b'{0.0, 0.3, "b":1}', [b"0.0, 0.3", b"1"]),
        ([b"{", LISTS, b',"b":', B, b"}"], b'{,"b":1}', [b"", b"1"]),
        ([b"[", LISTS, b"] [", B, b"]"], b"[1, 2] [3]", [b"1, 2", b"3"]),
        ([LAST, b" x ", Variable("b", Extent.LIST), b" y ", C], b"1 2 x 3, 4 : 5 y 6", [b"1 2", b"3, 4 : 5", b"6"]),
        ([LAST, b" x ", Variable("b", Extent.LIST), b" y ", C], b"1 2 x  y 6", [b"1 2", b"", b"6"]),
        ([Variable("x"), PATH, b" ", B], b"host/p y", [b"/p", b"y"]),
        ([Variable("x"), PATH, b" ", B], b"host- y/", [b"", b"y/"]),
        ([b'"', A, QUERY, b'" ', B], b'"/p x?q?r" y', [b"/p x", b"?q?r", b"y"]),
        ([b'"', A, QUERY, b'" ', B], b'"/p" y?', [b"/p", b"", b"y?"]),
    ],
)
def test_a_value_ends_where_its_extent_says(pieces: list[FormatPiece], line: bytes, values: list[bytes] | None) -> None:
    assert read(pieces, line) == values


QUOTED: list[FormatPiece] = [b'"', A, b'" "', B, b'" ', C]


@pytest.mark.parametrize(
    ("quoting", "line", "values"),
    [
        ("default", b'"x" "y z" 1', [b"x", b"y z", b"1"]),
        ("default", rb'"\x22" "\x5C" 1', [rb"\x22", rb"\x5C", b"1"]),
        ("default", b'"x" "y" z" 1', [b"x", b"y", b'z" 1']),
        ("default", b'"x"y" "z" 1', None),
        ("json", rb'"\"" "\\" 1', [rb"\"", rb"\\", b"1"]),
        ("json", rb'"x\" "y" 1', None),
        ("none", b'"x"y" "M"o" 1', [b'x"y', b'M"o', b"1"]),
        ("none", b'"x\\" "y" 1', [b"x\\", b"y", b"1"]),
        ("none", b'"x" "y" 2" 1', [b"x", b"y", b'2" 1']),
        ("gunicorn", rb'"x" "M\"o" 1', [b"x", rb"M\"o", b"1"]),
        ("gunicorn", rb'"x" "a\\"b" 1', [b"x", rb'a\\"b', b"1"]),
        ("gunicorn", b'"x\\" "y" 1', [b"x\\", b"y", b"1"]),
        ("gunicorn", b'"x" "y\\" 1', [b"x", b"y\\", b"1"]),
        ("gunicorn", rb'"a\" \"b" "c\" 2" 1', [rb"a\" \"b", rb"c\" 2", b"1"]),
        ("gunicorn", b'"x"y" "z" 1', None),
    ],
)
def test_quotes_end_a_value_as_the_server_escapes_them(quoting: str, line: bytes, values: list[bytes] | None) -> None:
    assert read(QUOTED, line, quoting) == values


def test_the_last_quote_of_a_line_without_escapes_closes_it() -> None:
    assert read([b'"', A, b'"'], b'"x"y"', "none") == [b'x"y']


def test_two_variables_without_text_between_are_refused_if_one_is_wanted() -> None:
    with pytest.raises(ValueError, match=r"^format: found x and a with no text between them$"):
        compiled([Variable("x"), A], WANTED, "default")
    assert read([Variable("x"), Variable("y"), b" ", A], b"xy z") == [b"z"]


@pytest.mark.parametrize(
    ("line", "fit"),
    [
        (b'1.2.3.4 "GET" 200', 17),
        (b'1.2.3.4 "GET" abc', 14),
        (b'1.2.3.4 "GET 200', 16),
        (b"1.2.3.4 GET 200", 0),
        (b"hello", 0),
        (b"", 0),
    ],
)
def test_the_matched_length_ends_where_the_format_differs(line: bytes, fit: int) -> None:
    format = compiled([Variable("x"), b' "', A, b'" ', DIGITS], WANTED, "default")
    assert format.matched_length(line) == fit


NOISE = [
    b'"',
    b" ",
    b"\\",
    b'\\"',
    b'" "',
    b', "b":',
    b", ",
    b" : ",
    b"1 ",
    b' 1 "',
    b'1" "',
    b"|1",
    b" 1 [",
    b" a, a",
    b"\r",
]
HOSTILE: list[tuple[list[FormatPiece], str]] = [
    ([FIRST, b" [", B, b'] "', C, b'"'], "default"),
    ([LAST, b" ", DIGITS, b' "', C, b'"'], "default"),
    ([LAST, b" ", DIGITS, b' "', C, b'"'], "json"),
    ([LAST, b" ", DIGITS, b' "', C, b'"'], "none"),
    ([LAST, b" ", DIGITS, b' "', C, b'"'], "gunicorn"),
    ([LAST, b"|", Variable("b", Extent.LAST), b"|", C, b'"x'], "default"),
    ([LAST, b" ", B, b" [", C, b"] x"], "default"),
    ([LAST, b" ", Variable("b", Extent.LIST), b" ", Variable("c", Extent.FIRST), b" [x"], "default"),
    ([LISTS, b" ", Variable("b", Extent.LIST), b" ", Variable("c", Extent.LIST), b"$x"], "default"),
    ([LAST, b" ", Variable("b", Extent.LIST), b" ", Variable("c", Extent.LIST), b" [x"], "default"),
    ([Variable("x"), PATH, b" ", B, QUERY, b" [x"], "default"),
    ([LAST, b" 1 ", B, b" 1 [", C, b" [x"], "default"),
    ([LAST, b", ", Variable("b", Extent.LIST), b" : ", C, b", x"], "default"),
    ([Variable("a", Extent.CLIENTS), b" - ", FIRST, b" [", C, b"]"], "default"),
    ([LAST, b" ", Variable("b", Extent.CLIENTS), b" ", Variable("c", Extent.FIRST), b"]"], "default"),
    ([b"[", LISTS, b', "b":', Variable("b", Extent.LIST), b', "b":', C, b"}"], "default"),
    (QUOTED, "gunicorn"),
    (QUOTED, "none"),
    (QUOTED, "json"),
]


@pytest.mark.parametrize(("pieces", "quoting"), HOSTILE)
def test_time_is_linear_on_hostile_lines(pieces: list[FormatPiece], quoting: str) -> None:
    """A quadratic pattern would need seconds for a single line of 16 kB."""
    format: Format = compiled(pieces, WANTED, quoting)
    begun = time.process_time()
    for noise in NOISE:
        for beginning in (b"", b'"', b"[", b'1 "'):
            line = beginning + noise * (16_384 // len(noise)) + b"$"
            format.pattern.findall(line + b"\n" + line)
    assert time.process_time() - begun < 2
