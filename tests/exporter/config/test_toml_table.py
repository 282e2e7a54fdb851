"""One invalid file per kind of problem, with the exact sentence that it must cause."""

from pathlib import Path

import pytest

from exporter.config.loader import ConfigError, load

SOURCE = """[[source]]
name = "nginx"
paths = ["access.log"]
parser = "nginx"
"""

REFUSED = {
    "unknown table": ("[exportr]\n", 'unknown table "exportr", did you mean "exporter"?'),
    "no table": ("listen = 'x'\n", 'key "listen" is above all tables, expected it inside a table such as [exporter]'),
    "unknown key": ("[exporter]\nlistn = 'x'\n", '[exporter]: unknown key "listn", did you mean "listen"?'),
    "wrong type": (
        "[exporter]\npoll_interval = 'fast'\n",
        "[exporter]: poll_interval: expected a number, found 'fast'",
    ),
    "too small": ("[limits]\nline_length = 0\n", "[limits]: line_length must be at least 1, found 0"),
    "poll interval": (
        "[exporter]\npoll_interval = 60\n",
        "[exporter]: poll_interval: expected a number <= 1.0, found 60",
    ),
    "listen": (
        "[exporter]\nlisten = '9877'\n",
        '[exporter]: listen must be host:port such as 127.0.0.1:9877, found "9877"',
    ),
    "start_at": (
        "[exporter]\nstart_at = 'middle'\n",
        "[exporter]: start_at: expected one of 'end', 'beginning', found 'middle'",
    ),
    "table as list": ("[[exporter]]\n", "exporter: expected one table [exporter], found an array"),
    "source as table": ("[source]\nname='x'\n", "source: expected tables [[source]], found a table"),
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
        '[[source]] "nginx": timezone: unknown time zone "Mars/Olympus", expected a name such as UTC or Asia/Shanghai',
    ),
    "no paths": (
        SOURCE.replace('["access.log"]', "[]"),
        '[[source]] "nginx": paths: expected an array of length >= 1, found []',
    ),
    "empty path": (
        SOURCE.replace("access.log", ""),
        "[[source]] \"nginx\": paths 1: expected a string of length >= 1, found ''",
    ),
    "a path with a NUL": (
        SOURCE.replace("access.log", r"access\u0000.log"),
        "[[source]] \"nginx\": paths 1: expected a file's name without NUL, found 'access\\x00.log'",
    ),
    "a state with a NUL": (
        '[exporter]\nstate = "\\u0000"\n',
        "[exporter]: state: expected a file's name without NUL, found '\\x00'",
    ),
    "deep": (f"a = {'[' * 5000}\n", "is not valid TOML: its tables and arrays are nested too deeply"),
    "digits": (f"a = {'9' * 5000}\n", "is not valid TOML: Exceeds the limit"),
    "a bound beyond every float": (
        f"[buckets]\ndify_request_duration_seconds = [1{'0' * 400}]\n",
        "[buckets]: dify_request_duration_seconds: expected increasing numbers of seconds from 1e-09 to 10000000, found [1000",
    ),
    "a bound beyond every duration": (
        "[buckets]\ndify_request_duration_seconds = [1, 1e300]\n",
        "[buckets]: dify_request_duration_seconds: expected increasing numbers of seconds from 1e-09 to 10000000, found [1, ",
    ),
    "a bound below every duration": (
        "[buckets]\ndify_request_duration_seconds = [1e-12]\n",
        "[buckets]: dify_request_duration_seconds: expected increasing numbers of seconds from 1e-09 to 10000000, found [1e-12]",
    ),
    "true": ("[exporter]\nlisten = true\n", "[exporter]: listen: expected a string, found true"),
    "name with a line break": (
        SOURCE.replace('"nginx"\np', '"a\\nb"\np'),
        "[[source]] \"a\N{REPLACEMENT CHARACTER}b\": name: expected a name of printable characters, found 'a\\nb'",
    ),
    "log pattern without the log": (
        SOURCE + 'log_patterns = ["*.old"]\n',
        '[[source]] "nginx": log_patterns: expected one {stem} for the file\'s name without its ending and at most one '
        '{ext} for the ending, or one %s for both, found "*.old"',
    ),
    "log pattern with the ending only": (
        SOURCE + 'log_patterns = ["a{ext}"]\n',
        '[[source]] "nginx": log_patterns: expected one {stem} for the file\'s name without its ending and at most one '
        '{ext} for the ending, or one %s for both, found "a{ext}"',
    ),
    "log pattern with the log twice": (
        SOURCE + 'log_patterns = ["{stem}-%s"]\n',
        '[[source]] "nginx": log_patterns: expected one {stem} for the file\'s name without its ending and at most one '
        '{ext} for the ending, or one %s for both, found "{stem}-%s"',
    ),
    "price's moment": (
        "[[price]]\nmodel='m'\ninput='2'\noutput='8'\ncurrency='USD'\nfrom=2026-01-01T00:00:00Z\n",
        "[[price]] 1: from: expected a date, found 2026-01-01T00:00:00+00:00",
    ),
    "one currency under two names": (
        "[exchange]\nRMB = '0.14'\nCNY = '0.15'\n",
        "[exchange]: CNY: the same currency as RMB, expected one of them",
    ),
    "endless line": (
        "[limits]\nline_length = 9999999999999\n",
        "[limits]: line_length must be at most 1073741824, found",
    ),
    "same name": (
        SOURCE * 2,
        '[[source]] "nginx": name: an earlier source has the same name, expected a different name per source',
    ),
    "histogram": (
        "[buckets]\ndify_request_seconds = [1]\n",
        '[buckets]: unknown histogram "dify_request_seconds", did you mean "dify_request_duration_seconds"?',
    ),
    "bounds": (
        "[buckets]\ndify_request_duration_seconds = [2, 1]\n",
        "[buckets]: dify_request_duration_seconds: expected increasing numbers of seconds from 1e-09 to 10000000, found [2, 1]",
    ),
    "price": (
        "[[price]]\nmodel='m'\ninput='2,00'\noutput='8'\ncurrency='USD'\n",
        "[[price]] 1: input must be an amount of at least 0 such as \"2.50\", found '2,00'",
    ),
    "negative price": (
        "[[price]]\nmodel='m'\ninput='2'\noutput='-8'\ncurrency='USD'\n",
        "[[price]] 1: output must be an amount of at least 0 such as \"2.50\", found '-8'",
    ),
    "price as a boolean": (
        "[[price]]\nmodel='m'\ninput=true\noutput='8'\ncurrency='USD'\n",
        "[[price]] 1: input: expected a number or a string, found true",
    ),
    "absurd price": (
        "[[price]]\nmodel='m'\ninput='1e300'\noutput='8'\ncurrency='USD'\n",
        "[[price]] 1: input must be between 10^-12 and 10^15, found '1e300'",
    ),
    "price's currency": (
        "[[price]]\nmodel='m'\ninput='2'\noutput='8'\ncurrency='dollar'\n",
        '[[price]] 1: currency must be a currency code such as "USD" or "RMB", found \'dollar\'',
    ),
    "price without a currency": (
        "[[price]]\nmodel='m'\ninput='2'\noutput='8'\ncurrency=''\n",
        '[[price]] 1: currency must be a currency code such as "USD" or "RMB", found \'\'',
    ),
    "price's day": (
        "[[price]]\nmodel='m'\ninput='2'\noutput='8'\ncurrency='USD'\nfrom='2026-02-30'\n",
        "[[price]] 1: from: expected a date such as 2026-11-30, found '2026-02-30'",
    ),
    "price without a model": (
        "[[price]]\nmodel='unknown'\ninput='2'\noutput='8'\ncurrency='USD'\n",
        '[[price]] 1: model must be a model\'s name such as "gpt-4.1", found "unknown"',
    ),
    "same price twice": (
        "[[price]]\nmodel='m'\ninput='2'\noutput='8'\ncurrency='USD'\n" * 2,
        "[[price]] 2: model, provider and from: the same as in [[price]] 1",
    ),
    "budget's zone": (
        "[[budget]]\nname='b'\nwindow='month'\nunit='USD'\nlimit='5'\ntimezone='Mars/Olympus'\n",
        '[[budget]] 1: timezone: unknown time zone "Mars/Olympus", expected a name such as UTC or Asia/Shanghai',
    ),
    "budget's unit": (
        "[[budget]]\nname='b'\nwindow='month'\nunit='dollars'\nlimit='5'\n",
        '[[budget]] 1: unit must be "tokens" or a currency code such as "USD" or "RMB", found \'dollars\'',
    ),
    "budget's limit": (
        "[[budget]]\nname='b'\nwindow='month'\nunit='USD'\nlimit='0'\n",
        "[[budget]] 1: limit must be an amount above 0 such as \"2.50\", found '0'",
    ),
    "budget's window": (
        "[[budget]]\nname='b'\nwindow='year'\nunit='USD'\nlimit='5'\n",
        "[[budget]] 1: window: expected one of 'day', 'week', 'month', found 'year'",
    ),
    "budget's filter": (
        "[[budget]]\nname='b'\nwindow='day'\nunit='USD'\nlimit='5'\nmatch={app='x'}\n",
        '[[budget]] 1: match: unknown label "app", did you mean "app_id"?',
    ),
    "same budget twice": (
        "[[budget]]\nname='b'\nwindow='day'\nunit='USD'\nlimit='5'\n" * 2,
        "[[budget]] 2: name: the same as in [[budget]] 1",
    ),
    "exchange's currency": (
        "[exchange]\nRMX = '0.14'\n",
        '[exchange]: currency must be a currency code such as "USD" or "RMB", found \'RMX\'',
    ),
    "exchange of the dollar": (
        "[exchange]\nUSD = '1.1'\n",
        "[exchange]: USD: all rates are in USD, expected only other currencies",
    ),
    "budget without a limit": (
        "[[budget]]\nname='b'\nwindow='month'\nunit='USD'\n",
        "[[budget]] 1: limit is missing",
    ),
    "exchange": (
        "[exchange]\nRMB = 'x'\n",
        "[exchange]: RMB must be an amount above 0 such as \"2.50\", found 'x'",
    ),
    "app": ("[apps]\na = 'x'\n", '[apps]: a: expected { name = "…", team = "…" }, found \'x\''),
    "route": ("[routes]\nextra = ['gateway']\n", "[routes]: "),
    "upstream": (
        "[proxy]\nupstream = 'api:5001'\n",
        '[proxy]: upstream must be http://host:port or https://host, found "api:5001"',
    ),
    "toml": ("[exporter\n", "is not valid TOML: "),
}


def problems_of(text: str, folder: Path) -> list[str]:
    """The problems of a file that is refused, without the name of the file."""
    file = folder / "exporter.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load(file)
    assert all(problem.startswith(f"{file}: ") for problem in refusal.value.problems)
    return [problem.removeprefix(f"{file}: ") for problem in refusal.value.problems]


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_configuration_is_refused_with_one_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = REFUSED[name]
    (problem,) = problems_of(text, tmp_path)
    assert problem.startswith(sentence)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "exporter.toml"
    file.write_text(
        "[exporter]\nlistn = 'x'\npoll_interval = 'y'\n[limits]\nline_length = -1\n"
        "[[source]]\nname = 'a'\nparser = 'nope'\npaths = ['x']\n[nonsense]\n"
    )
    with pytest.raises(ConfigError) as refusal:
        load(file)
    assert len(refusal.value.problems) == 5


def test_problems_of_a_price_list_name_its_file(tmp_path: Path) -> None:
    file, listed = tmp_path / "exporter.toml", tmp_path / "prices.toml"
    file.write_text("[exporter]\nprices = 'prices.toml'\n")
    for text, sentence in {
        None: "cannot be read: No such file or directory; name another file with [exporter] prices",
        "date = '2026'\n": "date: expected a date such as 2026-11-30, found a string",
        "date = 2026-11-30T08:00:00Z\n": "date: expected a date such as 2026-11-30, found a time",
        "[[prise]]\n": 'unknown table "prise", did you mean "price"?',
        "price = 3\n": "price: expected tables [[price]], found an integer",
        "price = [3]\n": "price: expected tables [[price]], found an array",
        "[price]\n": "price: expected tables [[price]], found a table",
        "model = 'm'\n": 'key "model" is above all tables, expected it inside a table such as [[price]]',
        "[[price]]\nmodel='m'\ninput='2'\noutput='x'\ncurrency='USD'\n": "[[price]] 1: output must be an amount",
    }.items():
        if text is not None:
            listed.write_text(text)
        with pytest.raises(ConfigError) as refusal:
            load(file)
        (problem,) = refusal.value.problems
        assert problem.startswith(f"{listed}: {sentence}")


PRICE = "[[price]]\nmodel='m'\ninput='2'\noutput='8'\ncurrency='USD'\n"
HOURS = {
    "a time without quotes": ("08:00:00", "hours: expected an array, found 08:00:00"),
    "a beginning without quotes": (
        "[{from=08:00:00, to='09:00', input='1', output='2'}]",
        "hours 1: from: expected a string, found 08:00:00; write it in quotes",
    ),
    "a second end without quotes": (
        "[{from='01:00', to='02:00', input='1', output='2'}, {from='08:00', to=09:00:00, input='1', output='2'}]",
        "hours 2: to: expected a string, found 09:00:00; write it in quotes",
    ),
    "a date and time": (
        "[{from=2026-11-30T08:00:00Z, to='09:00', input='1', output='2'}]",
        "hours 1: from: expected a string, found 2026-11-30T08:00:00+00:00; write it in quotes",
    ),
    "a number": (
        "[{from=8, to='09:00', input='1', output='2'}]",
        "hours 1: from: expected a string, found 8",
    ),
    "a missing key": ("[{from='08:00', to='09:00', input='1'}]", "hours 1: expected the key output, found {'from'"),
    "another key": (
        "[{from='08:00', to='09:00', input='1', output='2', day='Monday'}]",
        "hours 1: unexpected key day, found {'from'",
    ),
}


@pytest.mark.parametrize("name", HOURS)
def test_a_problem_inside_of_a_value_names_its_place(name: str, tmp_path: Path) -> None:
    hours, sentence = HOURS[name]
    file = tmp_path / "exporter.toml"
    file.write_text(f"{PRICE}hours = {hours}\n")
    with pytest.raises(ConfigError) as refusal:
        load(file)
    (problem,) = refusal.value.problems
    assert problem.startswith(f"{file}: [[price]] 1: {sentence}")


SPELLED = {
    "a misspelt required key": (
        "[[budget]]\nname='b'\nwindow='month'\nunit='dollars'\nlimt='5'\n",
        [
            '[[budget]] 1: unknown key "limt", did you mean "limit"?',
            "[[budget]] 1: limit is missing",
            '[[budget]] 1: unit must be "tokens" or a currency code such as "USD" or "RMB", found \'dollars\'',
        ],
    ),
    "a required key of the wrong type": (
        "[[price]]\nmodel='m'\ninput=[2]\noutput='8'\ncurrency='dollars'\n",
        [
            "[[price]] 1: input: expected a number or a string, found [2]",
            '[[price]] 1: currency must be a currency code such as "USD" or "RMB", found \'dollars\'',
        ],
    ),
    "two required keys with bad values": (
        "[[price]]\nmodel='m'\ninput='x'\noutput='y'\ncurrency='USD'\n",
        [
            "[[price]] 1: input must be an amount of at least 0 such as \"2.50\", found 'x'",
            "[[price]] 1: output must be an amount of at least 0 such as \"2.50\", found 'y'",
        ],
    ),
    "a pattern and a time limit": (
        "[[source]]\nname='a'\npaths=['x']\nparser='regex'\npattern='('\ntimeout=99\n",
        [
            '[[source]] "a": pattern: does not compile: missing ) at position 1',
            '[[source]] "a": timeout must be above 0 and at most 10 seconds, found 99.0',
        ],
    ),
    "keys that every source has": (
        "[[source]]\nnmae='a'\npath=['x']\nparser='nginx'\n",
        [
            "[[source]] 1: name is missing",
            "[[source]] 1: paths is missing",
            '[[source]] 1: unknown key "nmae", did you mean "name"?',
            '[[source]] 1: unknown key "path", did you mean "paths"?',
        ],
    ),
}


@pytest.mark.parametrize("name", SPELLED)
def test_no_problem_hides_another(name: str, tmp_path: Path) -> None:
    text, sentences = SPELLED[name]
    assert problems_of(text, tmp_path) == sentences


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_bytes(b"\xef\xbb\xbf" + SOURCE.replace("\n", "\r\n").encode())
    assert [source.name for source in load(tmp_path / "exporter.toml").sources] == ["nginx"]


def test_another_encoding_is_reported(tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_bytes(b"# a\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8: byte 0xe9 in line 2; save it as UTF-8"):
        load(tmp_path / "exporter.toml")


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match="cannot be read: No such file or directory; name another file with --config, or let `dify-exporter init` write one",
    ):
        load(tmp_path / "missing.toml")


def test_a_duplicate_name_is_reported_with_other_problems(tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_text(SOURCE + SOURCE + 'formt = "dify"\n')
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "exporter.toml")
    assert len(refused.value.problems) == 2
