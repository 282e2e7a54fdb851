"""A log_format as users copy it from nginx.conf: names, strings, quoted strings, whole directives."""

import pytest

from parsers.access.format import FormatPiece, Variable
from parsers.nginx.log_format import BUILT_IN, COMBINED, DIFY, INGRESS, pieces


def spelled(format: str) -> tuple[str, str]:
    """Return the format that nginx would use, and its escape mode."""
    found, escape = pieces(format)
    return "".join(_spelled(piece) for piece in found), escape


def _spelled(piece: FormatPiece) -> str:
    return f"${piece.name}" if isinstance(piece, Variable) else piece.decode()


DIRECTIVE = """
log_format main '$remote_addr - $remote_user [$time_local] "$request" $status '
                '$body_bytes_sent "$http_referer" '   # "a comment's quote
                '"$http_user_agent" "$http_x_forwarded_for"';
"""


@pytest.mark.parametrize(
    ("format", "meant"),
    [
        ("dify", (DIFY, "default")),
        ("dify-timed", (BUILT_IN["dify-timed"], "default")),
        ("combined", (COMBINED, "default")),
        ("ingress-nginx", (INGRESS, "default")),
        ("$status $request_uri", ("$status $request_uri", "default")),
        ("  $status\t$uri \n", ("$status\t$uri", "default")),
        (r"$status\t$uri", ("$status\t$uri", "default")),
        ("'$status '  '$uri'", ("$status $uri", "default")),
        ("'$status '\n    '$uri';", ("$status $uri", "default")),
        ('"$request" $status', ('"$request" $status', "default")),
        (DIRECTIVE, (DIFY, "default")),
        ("# the gateway's\n" + DIRECTIVE, (DIFY, "default")),
        ("log_format a escape=json '{\"s\":$status}';", ('{"s":$status}', "json")),
        ("log_format a 'escape=json' $status;", ("$status", "json")),
        ("log_format a escape=none $status;", ("$status", "none")),
        ("log_format a escape=default '$status'", ("$status", "default")),
        ('log_format a "{\\"s\\":\\"$status\\"}";', ('{"s":"$status"}', "default")),
        ("log_format a 'it\\'s $status \\\\ x';", ("it's $status \\ x", "default")),
        (r"log_format ltsv 'status:$status\tpath:$uri';", ("status:$status\tpath:$uri", "default")),
        ("log_format a $status#$uri;", ("$status#$uri", "default")),
        ("log_format a '$status' # behind\n '/$uri'; # the end", ("$status/$uri", "default")),
        ("${status}s in $request_uri", ("$statuss in $request_uri", "default")),
    ],
)
def test_a_format_is_read_as_nginx_reads_it(format: str, meant: tuple[str, str]) -> None:
    assert spelled(format) == meant


@pytest.mark.parametrize(
    ("format", "sentence"),
    [
        (
            "diffy",
            'format: unknown name "diffy", did you mean "dify"? If not, copy the log_format directive from nginx.conf',
        ),
        (
            "dify_timed",
            'format: unknown name "dify_timed", did you mean "dify-timed"? If not, copy the log_format directive from nginx.conf',
        ),
        (
            "xyz",
            'format: unknown name "xyz", expected one of dify-timed, dify, combined, ingress-nginx, error, or copy the log_format directive from nginx.conf',
        ),
        (
            "",
            'format: unknown name "", expected one of dify-timed, dify, combined, ingress-nginx, error, or copy the log_format directive from nginx.conf',
        ),
        ("a b c", 'format: no variable such as $status in "a b c"'),
        ("log_format a 'b';", 'format: no variable such as $status in "b"'),
        ("log_format '$status';", "format: expected log_format NAME '…';, found no name"),
        ("log_format ;", "format: expected log_format NAME '…';, found no name"),
        (
            "log_format a escape=xml '$status';",
            'format: escape must be one of default, json, none, found "xml"',
        ),
        ("log_format a '$status;", "format: a quote is not closed at '$status;"),
        ("'$status' '$uri", "format: a quote is not closed at '$uri"),
        (
            "log_format a '$status'; log_format b '$uri';",
            "format: expected one log_format, found log_format b '$uri'; behind the semicolon",
        ),
        ("$status\n$uri", "format: a line break inside; each request must be one line"),
        (r"log_format a '$status\n$uri';", "format: a line break inside; each request must be one line"),
    ],
)
def test_another_text_is_refused_in_one_sentence(format: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^format: ") as refused:
        pieces(format)
    assert str(refused.value) == sentence
