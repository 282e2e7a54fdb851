"""One bad file per way to be wrong, with the exact sentence it must cause."""

from pathlib import Path

import pytest

from exporter.config import ConfigError, load

SOURCE = """[[source]]
name = "nginx"
paths = ["access.log"]
parser = "nginx"
"""

REFUSED = {
    "unknown table": ("[exportr]\n", 'unknown table "exportr", did you mean "exporter"?'),
    "unknown key": ("[exporter]\nlistn = 'x'\n", '[exporter]: unknown key "listn", did you mean "listen"?'),
    "wrong type": (
        "[exporter]\npoll_interval = 'fast'\n",
        "[exporter]: poll_interval: expected `float`, found 'fast'",
    ),
    "too small": ("[limits]\nline_length = 0\n", "[limits]: line_length must be at least 1, found 0"),
    "poll interval": (
        "[exporter]\npoll_interval = 60\n",
        "[exporter]: poll_interval: expected `float` <= 1.0, found 60",
    ),
    "listen": (
        "[exporter]\nlisten = '9877'\n",
        '[exporter]: listen must be host:port such as 127.0.0.1:9877, found "9877"',
    ),
    "start_at": (
        "[exporter]\nstart_at = 'middle'\n",
        "[exporter]: start_at: invalid enum value 'middle', found 'middle'",
    ),
    "table as list": ("[[exporter]]\n", "exporter: expected one table [exporter], found list"),
    "source as table": ("[source]\nname='x'\n", "source: expected tables [[source]], found dict"),
    "missing key": (
        "[[source]]\nname = 'x'\npaths = ['a']\n",
        '[[source]] "x": parser is missing',
    ),
    "unknown parser": (
        SOURCE.replace('parser = "nginx"', 'parser = "ngnix"'),
        '[[source]] "nginx": parser: unknown parser "ngnix", did you mean "nginx"?',
    ),
    "unknown envelope": (
        SOURCE + 'envelope = "dokcer"\n',
        '[[source]] "nginx": envelope: unknown envelope "dokcer", did you mean "docker"?',
    ),
    "parser's key": (
        SOURCE + 'formt = "dify"\n',
        '[[source]] "nginx": unknown key "formt", did you mean "format"?',
    ),
    "time zone": (
        SOURCE + 'timezone = "Mars/Olympus"\n',
        "[[source]] \"nginx\": unknown time zone 'Mars/Olympus', expected an IANA name such as UTC or Asia/Shanghai",
    ),
    "no paths": (
        SOURCE.replace('["access.log"]', "[]"),
        '[[source]] "nginx": paths: expected `array` of length >= 1, found []',
    ),
    "same name": (
        SOURCE * 2,
        '[[source]] "nginx": name: used by an earlier source too, expected one name a source',
    ),
    "histogram": (
        "[buckets]\ndify_request_seconds = [1]\n",
        '[buckets]: unknown histogram "dify_request_seconds", did you mean "dify_request_duration_seconds"?',
    ),
    "bounds": (
        "[buckets]\ndify_request_duration_seconds = [2, 1]\n",
        "[buckets]: dify_request_duration_seconds: expected increasing numbers of seconds above 0, found [2, 1]",
    ),
    "price": (
        "[[price]]\nmodel='m'\ninput='2,00'\noutput='8'\ncurrency='USD'\n",
        '[[price]] 1: input must be a price per million tokens such as "2.00", found "2,00"',
    ),
    "budget without a limit": (
        "[[budget]]\nname='b'\nwindow='month'\nunit='USD'\n",
        "[[budget]] 1: limit is missing",
    ),
    "exchange": (
        "[exchange]\nRMB = 'x'\n",
        "[exchange]: RMB must be a decimal string above 0 such as \"500\", found 'x'",
    ),
    "app": ("[apps]\na = 'x'\n", '[apps]: a: expected { name = "…", team = "…" }, found \'x\''),
    "route": ("[routes]\nextra = ['gateway']\n", "[routes]: "),
    "upstream": (
        "[proxy]\nupstream = 'api:5001'\n",
        '[proxy]: upstream must begin with http:// or https://, found "api:5001"',
    ),
    "toml": ("[exporter\n", "is not valid TOML: "),
    "web_config": (
        "[exporter]\nweb_config = 'web.toml'\n",
        "[exporter]: web_config is not supported by this version: TLS and passwords need a proxy in front",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_configuration_is_refused_with_one_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = REFUSED[name]
    file = tmp_path / "exporter.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load(file)
    assert len(refusal.value.problems) == 1
    assert refusal.value.problems[0].startswith(f"{file}: {sentence}")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "exporter.toml"
    file.write_text(
        "[exporter]\nlistn = 'x'\npoll_interval = 'y'\n[limits]\nline_length = -1\n"
        "[[source]]\nname = 'a'\nparser = 'nope'\npaths = ['x']\n[nonsense]\n"
    )
    with pytest.raises(ConfigError) as refusal:
        load(file)
    assert len(refusal.value.problems) == 5


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; name another file with --config"):
        load(tmp_path / "missing.toml")
