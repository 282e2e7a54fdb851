"""Write docs/cli.md from the commands, docs/configuration.md from the structs of the configuration, and the output of
the commands that README.md shows.

Run it with `make docs`. A test compares the files with this output, and checks that every key has a meaning here.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from click.testing import CliRunner
from msgspec import Struct, inspect

from exporter.cli import main
from exporter.config.settings import AppConfig, ExporterConfig, RoutesConfig, SourceKeys
from exporter.config.web import HeadersConfig, RateLimit, TlsConfig
from exporter.config.wsgi import ProxyConfig, ReceiveConfig
from exporter.ledger.budgets import Budget
from exporter.ledger.history import HistoryConfig
from exporter.ledger.prices import Hours, Price, Tier
from exporter.ledger.series import Limits
from parsers.envelope import ENVELOPES
from parsers.parser import registered

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

#: Fields of the structs that are not keys of the file: the loader fills them in.
_HIDDEN = {"routes"}

_TIMEZONE = "time zone of the log's times that contain none"
_ROTATION = {
    "log_max_bytes": "size from which on the log is renamed to `.1`; 0 leaves the rotation to logrotate",
    "log_backups": "number of renamed logs that are kept",
}
MEANINGS: dict[str, dict[str, str]] = {
    "[exporter]": {
        "listen": "host:port; `[::1]:9877` for IPv6, `[::]:9877` for all addresses. Needs a restart",
        "state": 'folder that keeps the counters across restarts; "" keeps no state. Needs a restart',
        "web_config": "file with TLS settings and passwords, see below",
        "poll_interval": "seconds between two checks of a file for which no file system event arrived",
        "start_at": "where a new source starts in the files that exist at its first start. Newer files are read from their "
        "beginning, also those created while the exporter was down",
        "first_pass_timeout": "seconds after which /metrics answers even if the first pass has not read everything",
        "prices": "file with more [[price]] tables",
    },
    "[[source]]": {
        "name": "value of the label `source`. A removed source that is added again under the same name resumes where it "
        "stopped, unless the exporter was restarted without it; then it starts over",
        "paths": "files and globs; new matches are found while the exporter runs",
        "parser": "one of the parsers below",
        "envelope": "what surrounds each line of the log: `none` or one of the envelopes below",
        "log_patterns": "additional globs for the names of rotated files. `{stem}` is the log file's name without its "
        'ending, `{ext}` is the ending, `%s` is both: for `test.log`, `"{stem}_*{ext}"` matches `test_7.log`. A glob may '
        'name another folder (`"../old/%s*"`)',
    },
    'parser = "dify"': {"timezone": _TIMEZONE},
    'parser = "gunicorn"': {"format": "gunicorn's access_log_format, verbatim", "timezone": _TIMEZONE},
    'parser = "nginx"': {
        "format": "`dify`, `dify-timed`, `combined`, `ingress-nginx`, `error`, or a log_format copied verbatim from "
        "nginx.conf: only the format string, or the whole directive",
        "timezone": _TIMEZONE,
    },
    'parser = "otlp"': {
        "native": "also read the spans of ENABLE_OTEL, which exist for workflows only; by default Dify sends a tenth of them"
    },
    'parser = "plugin-daemon"': {"timezone": _TIMEZONE},
    'parser = "regex"': {
        "pattern": "regular expression with named groups: method, path, status_code, duration, bytes, time, …; see "
        "other-logs.md",
        "duration_unit": "unit of the groups that contain durations",
        "time_format": 'format of the group `time`: `epoch` or a strptime format; "" recognises ISO 8601, common log time '
        "and Unix times, see other-logs.md",
        "timeout": "seconds that the pattern may take for one line",
        "timezone": _TIMEZONE,
    },
    "[routes]": {"extra": "route templates in addition to Dify's own, such as `/gateway/{tenant}/chat`"},
    "[limits]": {
        "series_per_counter": "label sets per counter; above this number, new values of the open labels (route, app_id, provider, model, task) "
        "become `other`",
        "series_per_histogram": "the same per histogram",
        "label_length": "characters per label value",
        "line_length": "bytes per line; a longer line counts as unparsed (`too_long`)",
        "open_joins": "number of runs that may wait for their outcome; as many error records and answered streams may wait too",
    },
    "[[price]]": {
        "model": "name of the model as in the log",
        "input": "price per million input tokens",
        "output": "price per million output tokens",
        "currency": "currency code such as USD",
        "provider": 'name of the provider as in the log, or the last part of that name; "" matches every provider',
        "from": "first day on which the price is valid",
        "tiers": "prices of calls with a long prompt, see `[[price]] tiers` below",
        "hours": "prices at some hours of the day, see `[[price]] hours` below",
    },
    "[[price]] tiers": {
        "above": "a call with more input tokens than this has this price, for all its tokens",
        "input": "price per million input tokens",
        "output": "price per million output tokens",
    },
    "[[price]] hours": {
        "from": "time of the day in UTC at which this price begins, at a quarter of an hour such as `01:15`",
        "to": "time of the day in UTC at which this price ends, also at a quarter of an hour; if it is before `from`, it is on the next day",
        "input": "price per million input tokens",
        "output": "price per million output tokens",
    },
    "[[budget]]": {
        "name": "value of the label `budget`",
        "window": "calendar window",
        "unit": "a currency, or `tokens`",
        "limit": "amount in `unit`",
        "timezone": "time zone of the calendar window",
        "match": 'which usage counts in the budget, by source, app_id, provider or model: `{ app_id = "…" }`',
    },
    "[apps]": {"name": "display name of the app", "team": "team that receives the app's alerts"},
    "[history]": {
        "timezone": "time zone whose midnight ends a day of the history, see report.md",
        "days": "days that are kept; 0 keeps none",
    },
    "[proxy]": {
        "listen": "host:port",
        "upstream": "URL of Dify's api",
        "upstream_ca": "file with the CA certificate of an https upstream",
        "workers": "number of processes",
        "connect_timeout": "seconds to connect to the upstream",
        "read_timeout": "seconds without a byte from the upstream or the client",
        "log": "file that the proxy writes and `serve` tails",
        **_ROTATION,
        "apps": "app ids by the SHA-256 (hex) of their API keys",
        "trust_app_header": "use the request header X-Dify-App-Id for keys that `apps` does not contain",
        "openai": "serve POST /v1/chat/completions in OpenAI's format",
    },
    "[receive]": {
        "listen": "host:port",
        "log": "file that the receiver writes and `serve` tails",
        **_ROTATION,
        "token_file": "file that contains a token; then each request must have it (Bearer, or the password of Basic)",
        "native": "also read the spans of `ENABLE_OTEL`",
    },
    "[tls_server_config]": {
        "cert_file": "PEM file with the whole certificate chain; read again when it changes",
        "key_file": "PEM file with the private key, without a password",
        "client_auth_type": "whether clients must present a certificate",
        "client_ca_file": "CA certificates that sign the clients' certificates",
        "client_allowed_sans": "subject alternative names; a client's certificate must contain one of them",
        "min_version": "oldest TLS version",
        "max_version": "newest TLS version",
    },
    "[rate_limit]": {
        "interval": 'time per request, such as "100ms" for ten requests per second; "0" sets no limit',
        "burst": "requests that are allowed at once before the limit applies",
    },
    "[http_server_config.headers]": dict.fromkeys(
        ("Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "X-XSS-Protection"),
        "replaces the exporter's own value; an empty string removes the header",
    )
    | {"Strict-Transport-Security": "sent as written here"},
}

TABLES: dict[str, type[Struct]] = {
    "[exporter]": ExporterConfig,
    "[[source]]": SourceKeys,
    **{f'parser = "{name}"': parser for name, parser in registered().items()},
    "[routes]": RoutesConfig,
    "[limits]": Limits,
    "[[price]]": Price,
    "[[price]] tiers": Tier,
    "[[price]] hours": Hours,
    "[[budget]]": Budget,
    "[apps]": AppConfig,
    "[history]": HistoryConfig,
    "[proxy]": ProxyConfig,
    "[receive]": ReceiveConfig,
    "[tls_server_config]": TlsConfig,
    "[rate_limit]": RateLimit,
    "[http_server_config.headers]": HeadersConfig,
}

_WEB = """\
## web_config

The file that `web_config` names uses the keys of Prometheus' [exporter-toolkit](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md),
written as TOML. Relative paths start at the file's folder. A reload of the configuration also reloads this file.
Certificates are reloaded when they change.

```toml
[tls_server_config]
cert_file = "exporter.crt"
key_file = "exporter.key"

[basic_auth_users]               # name = bcrypt hash of cost 4 to 18, as `htpasswd -nBC 10 prometheus` prints it
prometheus = "$2y$10$…"
```

These keys of the exporter-toolkit are not supported: inline `cert`, `key` and `client_ca`, cipher suites, curves, HTTP/2.
"""


def keys(table: str) -> list[inspect.Field]:
    found = inspect.type_info(TABLES[table])
    assert isinstance(found, inspect.StructType)
    return [field for field in found.fields if field.encode_name not in _HIDDEN or table == "[routes]"]


def configuration() -> str:
    parts = [
        "# Configuration\n",
        "<!-- Written by `make docs` from the structs that a configuration becomes. -->\n",
        "The exporter reads `exporter.toml`, or the file that `--config` or `DIFY_EXPORTER_CONFIG` names. "
        "[exporter.toml](../exporter.toml) is an example. Unknown keys, wrong types and impossible values are errors: "
        "all of them are listed at once with file, table and key, and the exit code is 2. Relative paths start at the "
        "file's folder.\n",
        "**Reload.** SIGHUP reloads the configuration, and so does `POST /-/reload` from the same machine or by a user of "
        "`web_config`. A reload resets no counter, and sources whose table is unchanged keep running. A configuration "
        "with errors changes nothing: `dify_exporter_config_last_reload_successful` becomes 0, and the log gives the "
        "reason. Changes of `listen`, `state` and `[buckets]` need a restart.\n",
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


_APPS = 'One line per app: `"APP-ID" = { name = "…", team = "…" }`.\n\n'


#: What each envelope reads, for the table of envelopes.
ENVELOPE_MEANINGS = {
    "docker": "files of Docker's json-file driver: `/var/lib/docker/containers/ID/ID-json.log`. The 16 KiB pieces of a "
    "long line are joined",
    "cri": "files of containerd and CRI-O in Kubernetes: `/var/log/containers/*.log`. Partial pieces (`P`) are joined with "
    "their final piece (`F`)",
    "compose": "the output of `docker compose logs`, `docker service logs` and `kubectl logs --prefix`, with or without "
    "colours, and the times of `--timestamps` and `docker logs -t`. Lines of Dify's other services that the parser "
    "cannot read are ignored",
    "syslog": "RFC 3164 and RFC 5424 in the files of rsyslog and syslog-ng, and the output of `journalctl` with "
    "`-o short`, `short-precise`, `short-iso`, `short-full`, `short-unix` or `with-unit`",
    "json": "one JSON object per line that contains the log line in the string `log`, `message`, `MESSAGE` or `line`: "
    "Fluent Bit, Fluentd, Vector, Filebeat, `journalctl -a -o json`, `logcli -o jsonl`. Without `-a`, journalctl omits "
    "long lines",
}


def _envelopes() -> str:
    missing = ENVELOPES.keys() - ENVELOPE_MEANINGS
    if missing:
        raise SystemExit(f"tests/references.py: add {', '.join(missing)} to ENVELOPE_MEANINGS")
    rows = [f"| `{name}` | {ENVELOPE_MEANINGS[name]} |" for name in ENVELOPES]
    return "\n".join(
        [
            "### `envelope`",
            "",
            "An envelope is what a container runtime, a command or a log shipper writes around each line. `replay` and "
            "`check` detect it.",
            "",
            "| envelope | what it reads |",
            "|---|---|",
            *rows,
            "",
            "A line of more than `line_length` bytes is one unparsed line (`too_long`). For a line in several pieces the "
            "sum of the pieces counts.",
            "",
        ]
    )


def _plain() -> str:
    return (
        "## `[buckets]`\n\nUpper bounds of a histogram's buckets in seconds, by the name of the histogram: "
        "`dify_request_duration_seconds = [0.1, 1.0, 10.0]`. A bound is from 1e-9 to 10,000,000. [metrics.md](metrics.md) lists the names.\n\n"
        "## `[exchange]`\n\nExchange rates into US dollars, for costs in another currency than a budget's: "
        '`RMB = "0.14"` means that one RMB is worth 0.14 US dollars.\n'
    )


def _table(table: str) -> str:
    meanings = MEANINGS.get(table, {})
    missing = [field.encode_name for field in keys(table) if field.encode_name not in meanings]
    if missing:
        raise SystemExit(f"tests/references.py: add {', '.join(missing)} of {table} to MEANINGS")
    rows = [
        f"| `{field.encode_name}` | {_type(field.type)} | {_default(field)} | "
        f"{meanings[field.encode_name].replace('|', chr(92) + '|')} |"
        for field in keys(table)
    ]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, str | bool | int | float):
        return f"`{str(value).lower() if isinstance(value, bool) else msgspec.json.encode(value).decode()}`"
    return "always"


def _type(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):  # the type with an example
        return _type(kind.type)
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return f"list of {_type(kind.item_type)}s"
    if isinstance(kind, inspect.DictType | inspect.StructType):
        return "table"
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_type(each) for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        name = "integer" if isinstance(kind, inspect.IntType) else "number"
        return f"{name} {_bounds(kind)}".strip()
    return {inspect.StrType: "string", inspect.BoolType: "true or false", inspect.DateType: "date"}[type(kind)]


def _bounds(kind: Any) -> str:
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    return " ".join(f"{word} {getattr(kind, name)}" for name, word in words.items() if getattr(kind, name) is not None)


def command_line() -> str:
    """Return the help of every command as a terminal of 100 columns shows it."""
    commands = main.list_commands(click.Context(main))
    parts = [
        "# Command line\n",
        "<!-- Written by `make docs` from the commands themselves. -->\n",
        *(f"## `dify-exporter {name}`\n\n{_help(name)}\n" for name in commands),
    ]
    parts.insert(2, f"{_help()}\n")
    return "\n".join(parts)


def _help(*arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments, "--help"], prog_name="dify-exporter", terminal_width=100)
    assert result.exit_code == 0, result.output
    return f"```console\n$ dify-exporter {' '.join([*arguments, '--help'])}\n{_lines(result.output)}\n```"


def _lines(text: str) -> str:
    return re.sub(r"[ \t]+$", "", text.strip(), flags=re.MULTILINE)


def readme() -> str:
    """Return README.md with the current output in each console block of one replay, explain or check command."""
    return re.sub(
        r"(?m)^```console\n\$ (.*\bdify-exporter (?:replay|explain|check)\b.*)\n(?:(?!```).*\n)*```$",
        lambda block: f"```console\n$ {block[1]}\n{_printed(block[1])}\n```",
        (ROOT / "README.md").read_text(),
    )


def _printed(command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    finished = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env={"PATH": path, "PYTHONUTF8": "1"}, check=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return _lines(finished.stdout)


#: Each document, and the function that returns its text.
DOCUMENTS: dict[Path, Callable[[], str]] = {
    DOCS / "cli.md": command_line,
    DOCS / "configuration.md": configuration,
    ROOT / "README.md": readme,
}


if __name__ == "__main__":
    for file, text in DOCUMENTS.items():
        file.write_text(text())
