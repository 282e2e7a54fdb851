"""Writes docs/cli.md and docs/configuration.md, from the commands and from the structs that a configuration becomes,
and what README.md shows of the commands' output.

Run it with `make docs`; a test compares. What a key is for stands here; that no key is forgotten, the test sees to.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from click.testing import CliRunner
from msgspec import Struct, inspect

from exporter.cli import main
from exporter.config.proxy import ProxyConfig
from exporter.config.settings import AppConfig, ExporterConfig, RoutesConfig, SourceKeys
from exporter.config.tls import Tls
from exporter.config.web import Headers, RateLimit
from exporter.ledger.budgets import Budget
from exporter.ledger.prices import Price
from exporter.ledger.series import Limits
from parsers.envelope import ENVELOPES
from parsers.parser import registered

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

#: Keys that are no key of the file: the configuration gives them itself.
_HIDDEN = {"routes"}

_TIMEZONE = "zone of times written without one"
MEANINGS: dict[str, dict[str, str]] = {
    "[exporter]": {
        "listen": "host:port, `[::1]:9877` for IPv6, `[::]:9877` for all addresses; needs a restart",
        "state": 'folder in which counters survive a restart; "" runs without one; needs a restart',
        "web_config": "file with TLS and passwords, see below",
        "poll_interval": "seconds between two looks at a file that no event announced",
        "start_at": "where a source without a saved position begins, in the files that exist then; later ones are read "
        "from their beginning, also where they came while the exporter was down",
        "first_pass_timeout": "seconds after which /metrics is shown although not everything is read",
        "prices": "file with further [[price]] tables",
    },
    "[[source]]": {
        "name": "becomes the label `source`; a source removed and put back under its name goes on where it stopped, but "
        "for one that a restart did not find: that begins anew",
        "paths": "files and globs; new matches are found while running",
        "parser": "one of the parsers below",
        "envelope": "what is around each line of the log: `none` or one of the envelopes below",
        "log_patterns": "further names of rotated files, globs: `{stem}` is the file's name without its ending, `{ext}` the ending "
        '(`"{stem}_*{ext}"` for `test.log` means `test_7.log`), `%s` is both; also in another folder (`"../old/%s*"`)',
    },
    'parser = "dify"': {"timezone": _TIMEZONE},
    'parser = "gunicorn"': {"format": "gunicorn's access_log_format, verbatim", "timezone": _TIMEZONE},
    'parser = "nginx"': {
        "format": "`dify`, `dify-timed`, `combined`, `ingress-nginx`, `error`, or a log_format verbatim from nginx.conf: the bare string "
        "or the whole directive",
        "timezone": _TIMEZONE,
    },
    'parser = "plugin-daemon"': {"timezone": _TIMEZONE},
    'parser = "regex"': {
        "pattern": "regular expression with named groups: method, path, status_code, duration, bytes, time, …; see "
        "other-logs.md",
        "duration_unit": "unit of the groups that hold durations",
        "time_format": 'form of the group `time`: `epoch` or strptime\'s; "" recognises ISO 8601, common log time and '
        "times since 1970, see other-logs.md",
        "timeout": "seconds for one line",
        "timezone": _TIMEZONE,
    },
    "[routes]": {"extra": "templates beside Dify's own routes, such as `/gateway/{tenant}/chat`"},
    "[limits]": {
        "series_per_counter": "label sets a counter; beyond it open labels become `other`",
        "series_per_histogram": "label sets a histogram",
        "label_length": "characters of a label value",
        "line_length": "bytes of a line; a longer one counts as unparsed (`too_long`)",
        "open_joins": "runs, error records and answered streams that wait, each",
    },
    "[[price]]": {
        "model": "as the log names it",
        "input": "per million tokens, a decimal string",
        "output": "per million tokens, a decimal string",
        "currency": "such as USD",
        "provider": 'as the log names it, or its last part; "" is any',
        "from": "first day on which it is valid",
    },
    "[[budget]]": {
        "name": "becomes the label `budget`",
        "window": "calendar window",
        "unit": "a currency, or `tokens`",
        "limit": "a decimal string",
        "timezone": "zone of the calendar",
        "match": 'what counts in it: `{ app_id = "…" }`, also source, provider and model',
    },
    "[apps]": {"name": "what people call the app", "team": "who gets its alerts"},
    "[proxy]": {
        "listen": "host:port",
        "upstream": "Dify's api",
        "upstream_ca": "file with the CA of an https upstream",
        "workers": "processes",
        "connect_timeout": "seconds",
        "read_timeout": "seconds between two pieces of an answer",
        "log": "file that `serve` tails",
        "apps": "sha256 (hex) of an API key → app id",
        "trust_app_header": "X-Dify-App-Id counts where `apps` knows nothing",
        "openai": "answers POST /v1/chat/completions as OpenAI does",
    },
    "[tls_server_config]": {
        "cert_file": "PEM, the whole chain; read again when it changes",
        "key_file": "PEM, without a password",
        "client_auth_type": "whether clients show a certificate",
        "client_ca_file": "CA of the clients' certificates",
        "client_allowed_sans": "names of which a client's certificate must carry one",
        "min_version": "oldest TLS",
        "max_version": "newest TLS",
    },
    "[rate_limit]": {
        "interval": 'a request each so long, such as "100ms"; "0" is no limit',
        "burst": "requests at once before that",
    },
    "[http_server_config.headers]": dict.fromkeys(
        ("Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "X-XSS-Protection"),
        "replaces ours; empty leaves it out",
    )
    | {"Strict-Transport-Security": "sent as it is written"},
}

TABLES: dict[str, type[Struct]] = {
    "[exporter]": ExporterConfig,
    "[[source]]": SourceKeys,
    **{f'parser = "{name}"': parser for name, parser in registered().items()},
    "[routes]": RoutesConfig,
    "[limits]": Limits,
    "[[price]]": Price,
    "[[budget]]": Budget,
    "[apps]": AppConfig,
    "[proxy]": ProxyConfig,
    "[tls_server_config]": Tls,
    "[rate_limit]": RateLimit,
    "[http_server_config.headers]": Headers,
}

_WEB = """\
## web_config

The file that `web_config` names has the keys of Prometheus' [exporter-toolkit](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md),
as TOML. A relative path counts from the file's folder. It is read again with the configuration; certificates are
read again when they change.

```toml
[tls_server_config]
cert_file = "exporter.crt"
key_file = "exporter.key"

[basic_auth_users]               # name = bcrypt hash of cost 4 to 18, as `htpasswd -nBC 10 prometheus` prints it
prometheus = "$2y$10$…"
```

Not supported: `cert`, `key` and `client_ca` in the file itself, cipher suites, curves and HTTP/2.
"""


def keys(table: str) -> list[inspect.Field]:
    found = inspect.type_info(TABLES[table])
    assert isinstance(found, inspect.StructType)
    return [field for field in found.fields if field.encode_name not in _HIDDEN or table == "[routes]"]


def configuration() -> str:
    parts = [
        "# Configuration\n",
        "<!-- Written by `make docs` from the structs that a configuration becomes. -->\n",
        "`exporter.toml`, or the file that `--config` or `DIFY_EXPORTER_CONFIG` names; "
        "[exporter.toml](../exporter.toml) is an example. Unknown keys, wrong types and impossible values are errors "
        "that name file, table and key, all at once (exit code 2). Relative paths count from the file's folder.\n",
        "SIGHUP, or `POST /-/reload` from the same machine or as a user of `web_config`, reads it again: nothing that was "
        "counted begins anew, sources whose table is unchanged go on untouched, and a bad configuration changes nothing "
        "(`dify_exporter_config_last_reload_successful` is 0, and the log says why). `listen`, `state` and `[buckets]` "
        "need a restart.\n",
    ]
    for table in TABLES:
        if table == "[tls_server_config]":
            parts += [_plain(), _WEB]
        if table == 'parser = "dify"':
            parts.append(_envelopes())
        depth = "###" if table.startswith("parser") or table in list(TABLES)[-3:] else "##"
        title = "[apps]" if table == "[apps]" else table
        parts.append(f"{depth} `{title}`\n\n{_APPS if table == '[apps]' else ''}{_table(table)}")
    return "\n".join(parts)


_APPS = '`"APP-ID" = { name = "…", team = "…" }`, a line an app.\n\n'


#: What each envelope is for.
ENVELOPE_MEANINGS = {
    "docker": "Docker's json-file driver: `/var/lib/docker/containers/ID/ID-json.log`; a line in several pieces of 16 KiB "
    "is one line",
    "cri": "Kubernetes: `/var/log/containers/*.log`, of containerd and CRI-O; `P` pieces are joined with their `F`",
    "compose": "what `docker compose logs`, `docker service logs` and `kubectl logs --prefix` print, with colours or "
    "without; the time of `--timestamps`, also of `docker logs -t`. Lines of another service of Dify's that the "
    "parser cannot read are ignored",
    "syslog": "RFC 3164 and RFC 5424, as rsyslog and syslog-ng write them to files, and `journalctl` with "
    "`-o short`, `short-precise`, `short-iso`, `short-full`, `short-unix` or `with-unit`",
    "json": "an object with the line in the string `log`, `message`, `MESSAGE` or `line`: Fluent Bit, Fluentd, Vector, "
    "Filebeat, `journalctl -a -o json`, `logcli -o jsonl`. Without `-a`, journalctl leaves long lines out",
}


def _envelopes() -> str:
    lacking = ENVELOPES.keys() - ENVELOPE_MEANINGS
    if lacking:
        raise SystemExit(f"tests/references.py: ENVELOPE_MEANINGS says nothing of {', '.join(lacking)}")
    rows = [f"| `{name}` | {ENVELOPE_MEANINGS[name]} |" for name in ENVELOPES]
    return "\n".join(
        [
            "### `envelope`",
            "",
            "What a container's runtime, a command or a shipper writes around each line. `replay` and `check` detect it.",
            "",
            "| envelope | what it reads |",
            "|---|---|",
            *rows,
            "",
            "A line in several pieces that together span more than `line_length` bytes is one unparsed line "
            "(`too_long`), and so is a physical line of more than that.",
            "",
        ]
    )


def _plain() -> str:
    return (
        "## `[buckets]`\n\nUpper bounds in seconds for a histogram, by its name: "
        "`dify_request_duration_seconds = [0.1, 1.0, 10.0]`; see [metrics.md](metrics.md) for the names.\n\n"
        "## `[exchange]`\n\nWhat one of a currency is worth, to bring costs into a budget of another: "
        '`RMB = "0.14"`.\n'
    )


def _table(table: str) -> str:
    told = MEANINGS.get(table, {})
    lacking = [field.encode_name for field in keys(table) if field.encode_name not in told]
    if lacking:
        raise SystemExit(f"tests/references.py: MEANINGS says nothing of {', '.join(lacking)} in {table}")
    rows = [
        f"| `{field.encode_name}` | {_type(field.type)} | {_default(field)} | "
        f"{told[field.encode_name].replace('|', chr(92) + '|')} |"
        for field in keys(table)
    ]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _default(field: inspect.Field) -> str:
    if field.required:
        return "needed"
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, str | bool | int | float):
        return f"`{str(value).lower() if isinstance(value, bool) else msgspec.json.encode(value).decode()}`"
    return "always"


def _type(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):  # an example is told beside its type
        return _type(kind.type)
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return f"list of {_type(kind.item_type)}s"
    if isinstance(kind, inspect.DictType):
        return "table"
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_type(each) for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        name = "whole number" if isinstance(kind, inspect.IntType) else "number"
        return f"{name} {_bounds(kind)}".strip()
    return {inspect.StrType: "string", inspect.BoolType: "true or false", inspect.DateType: "date"}[type(kind)]


def _bounds(kind: Any) -> str:
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    return " ".join(f"{word} {getattr(kind, name)}" for name, word in words.items() if getattr(kind, name) is not None)


def command_line() -> str:
    """The help of every command, as it is printed on a terminal of 100 columns."""
    commands = main.list_commands(click.Context(main))
    parts = [
        "# Command line\n",
        "<!-- Written by `make docs` from the commands themselves. -->\n",
        *(f"## `dify-exporter {name}`\n\n{_help(name)}\n" for name in commands),
    ]
    parts.insert(2, f"{_help()}\n")
    return "\n".join(parts)


def _help(*arguments: str) -> str:
    told = CliRunner().invoke(main, [*arguments, "--help"], prog_name="dify-exporter", terminal_width=100)
    assert told.exit_code == 0, told.output
    return f"```console\n$ dify-exporter {' '.join([*arguments, '--help'])}\n{_lines(told.output)}\n```"


def _lines(text: str) -> str:
    return re.sub(r"[ \t]+$", "", text.strip(), flags=re.MULTILINE)


def readme() -> str:
    """README.md, each block of one command that names the samples or pipes our output with what it prints."""
    return re.sub(
        r"(?m)^```console\n\$ (.*\bdify-exporter (?:replay|explain|check)\b.*)\n(?:(?!```).*\n)*```$",
        lambda block: f"```console\n$ {block[1]}\n{_printed(block[1])}\n```",
        (ROOT / "README.md").read_text(),
    )


def _printed(command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env={"PATH": path, "PYTHONUTF8": "1"}, check=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return _lines(told.stdout)


def documents() -> Iterator[tuple[Path, str]]:
    yield DOCS / "cli.md", command_line()
    yield DOCS / "configuration.md", configuration()
    yield ROOT / "README.md", readme()


if __name__ == "__main__":
    for file, text in documents():
        file.write_text(text)
