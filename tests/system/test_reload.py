"""SIGHUP and POST /-/reload: the configuration changes, the counters go on."""

import os
import signal
import threading
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.system.exporter import Exporter, serving
from tests.system.programs import until

LINE = '1.2.3.4 - - [23/Nov/2026:10:00:00 +0000] "GET {path} HTTP/1.1" 200 5 "-" "-"\n'
SUCCESSFUL = "dify_exporter_config_last_reload_successful"
LOADED_AT = "dify_exporter_config_last_reload_success_timestamp_seconds"


def source(name: str) -> str:
    return f'[[source]]\nname = "{name}"\npaths = ["{name}.log"]\nparser = "nginx"\nformat = "combined"\n'


def configure(folder: Path, text: str) -> None:
    """As an editor does it: the file is never half there."""
    old = (folder / "exporter.toml").read_text().split("[[")[0]
    (folder / "new").write_text(old + text)
    os.replace(folder / "new", folder / "exporter.toml")


def post(exporter: Exporter, **headers: str) -> tuple[int, str]:
    try:
        with urlopen(Request(exporter.url + "/-/reload", method="POST", headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_counters_go_on_under_load_while_everything_is_reloaded(tmp_path: Path) -> None:
    written = 0
    stop = threading.Event()

    def write() -> None:
        nonlocal written
        with (tmp_path / "steady.log").open("a") as steady, (tmp_path / "changing.log").open("a") as changing:
            while not stop.wait(0.001):
                for log in (steady, changing):
                    log.write(LINE.format(path="/v1/info") * 5)
                    log.flush()
                written += 5

    for name in ("steady", "changing"):
        (tmp_path / f"{name}.log").touch()
    both = source("steady") + source("changing")
    other = source("changing") + 'log_patterns = ["%s.old"]\n'
    versions = [
        source("steady") + other,
        source("steady"),
        both + "[limits]\nseries_per_counter = 500\nline_length = 4096\n",
        both + source("new"),
        both + '[[price]]\nmodel = "m"\ninput = "1"\noutput = "1"\ncurrency = "USD"\n',
        both + '[[budget]]\nname = "b"\nwindow = "day"\nunit = "USD"\nlimit = "5"\n',
    ]
    with serving(tmp_path, both) as exporter:
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        seen: list[float] = []
        for number, version in enumerate(versions * 2):
            configure(tmp_path, version)
            before = exporter.value(LOADED_AT)
            if number % 2:
                os.kill(exporter.process.pid, signal.SIGHUP)
                until("the reload", lambda before=before: exporter.value(LOADED_AT) > before)
            else:
                assert post(exporter) == (200, "Reloaded.\n")
            assert exporter.value(SUCCESSFUL) == 1
            seen.append(exporter.value("dify_requests_total", source="steady"))
            until("more lines", lambda: exporter.value("dify_requests_total", source="steady") > seen[-1])
        stop.set()
        writer.join()
        for name in ("steady", "changing"):
            until(
                f"all lines of {name}",
                lambda name=name: exporter.value("dify_requests_total", source=name) == written,
            )
        assert seen == sorted(seen)
        assert exporter.value("dify_exporter_source_up") == 2
        assert exporter.value("dify_exporter_source_errors_total") == 0
        assert exporter.value("dify_budget_limit") == 5
        # A source that was not changed was not touched: its file is still the same open one.
        assert sum("is read" in line for line in exporter.process.lines if "steady" in line) == 0


def test_a_bad_configuration_changes_nothing_and_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.log").touch()
    with serving(tmp_path, source("a")) as exporter:
        loaded_at = exporter.value(LOADED_AT)
        bad = [
            ("[[sourc]]\n", 'unknown table "sourc", did you mean "source"?'),
            ("", "no [[source]] table"),
            (source("a") + "[buckets]\ndify_request_duration_seconds = [1.0]\n", "[buckets] cannot change"),
            (source("a") + source("a"), "an earlier source has the same name"),
        ]
        for text, sentence in bad:
            configure(tmp_path, text)
            status, body = post(exporter)
            assert (status, body.splitlines()[0]) == (500, "The new configuration is refused.")
            assert sentence in body
            exporter.process.said(sentence.replace('"', '\\"'))
            assert exporter.value(SUCCESSFUL) == 0
            assert exporter.value(LOADED_AT) == loaded_at
            assert "was refused" in exporter.get("/")
        with (tmp_path / "a.log").open("a") as log:
            log.write(LINE.format(path="/v1/info"))
        until("the line", lambda: exporter.value("dify_requests_total") == 1)
        configure(tmp_path, source("a"))
        assert post(exporter)[0] == 200
        assert exporter.value(SUCCESSFUL) == 1
        assert exporter.value(LOADED_AT) > loaded_at
        assert post(exporter, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
        assert exporter.value(LOADED_AT) < time.time()


def test_web_config_is_reloaded_too(tmp_path: Path) -> None:
    (tmp_path / "a.log").touch()
    (tmp_path / "web.toml").write_text("")
    with serving(tmp_path, source("a"), exporter_keys='web_config = "web.toml"') as exporter:
        assert exporter.get("/-/healthy") == "Healthy.\n"
        hashed = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
        (tmp_path / "web.toml").write_text(f'[basic_auth_users]\nprometheus = "{hashed}"\n')
        assert post(exporter)[0] == 200
        assert post(exporter)[0] == 401
        os.kill(exporter.process.pid, signal.SIGTERM)
        assert exporter.process.ended() == 0
