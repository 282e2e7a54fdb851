"""The endpoint as a stranger, an attacker and a real Prometheus meet it."""

import os
import signal
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import bcrypt
import pytest
import trustme

from tests.system.attackers import attackers
from tests.system.exporter import COMMAND, Exporter, serving
from tests.system.programs import until
from tests.system.stack import prometheus

SOURCE = '[[source]]\nname = "nginx"\npaths = ["access.log"]\nparser = "nginx"\nformat = "combined"\n'
LINE = '1.2.3.4 - - [23/Nov/2026:10:00:00 +0000] "GET /v1/parameters HTTP/1.1" 200 5 "-" "-"\n'


def test_a_scrape_is_quick_while_300_hostile_connections_are_open(tmp_path: Path) -> None:
    """Nine of ten scrapes stay well below a scrape's time limit, also on a busy machine. SECURITY.md has the quantiles."""
    (tmp_path / "access.log").write_text(LINE * 1000)
    with serving(tmp_path, SOURCE) as exporter, attackers(exporter.url, 300):
        times = []
        for _ in range(50):
            begun = time.perf_counter()
            assert exporter.value("process_open_fds") < 700
            times.append(time.perf_counter() - begun)
        threads = len(list(Path(f"/proc/{exporter.process.pid}/task").iterdir()))
    print(f"median {sorted(times)[25]:.3f} s, longest {max(times):.3f} s")
    assert sorted(times)[45] < 5
    assert threads < 20


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[Exporter, trustme.CA]]:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "exporter.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(10)).decode()
    (tmp_path / "web.toml").write_text(
        '[tls_server_config]\ncert_file = "exporter.pem"\nkey_file = "exporter.pem"\n'
        f'[basic_auth_users]\nprometheus = "{hashed}"\n'
    )
    (tmp_path / "access.log").touch()
    with serving(tmp_path, SOURCE, exporter_keys='web_config = "web.toml"') as exporter:
        with (tmp_path / "access.log").open("a") as log:
            log.write(LINE * 3)
        yield exporter, authority


def ask(exporter: Exporter, context: ssl.SSLContext, credentials: str) -> int:
    basic = b64encode(credentials.encode()).decode()
    try:
        request = Request(exporter.url + "/metrics", headers={"Authorization": f"Basic {basic}"})
        with urlopen(request, timeout=10, context=context) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_prometheus_scrapes_over_tls_with_a_password(secured: tuple[Exporter, trustme.CA], tmp_path: Path) -> None:
    exporter, _ = secured
    folder = tmp_path / "prometheus"
    folder.mkdir()
    job = (
        "  scheme: https\n  tls_config: {{ca_file: {ca}}}\n  basic_auth: {{username: prometheus, password: {password}}}\n"
        "  static_configs: [{{targets: ['{target}']}}]\n"
    )
    target = urlsplit(exporter.url).netloc
    jobs = [
        f"- job_name: {name}\n" + job.format(ca=tmp_path / "ca.pem", password=password, target=target)
        for name, password in (("right", "right"), ("wrong", "wrong"))
    ]
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1s}\nscrape_configs:\n" + "".join(jobs))
    with prometheus(folder) as server:

        def query(expression: str) -> dict[str, str]:
            return {each["metric"].get("job", ""): each["value"][1] for each in server.query(expression)}

        until("both jobs to be judged", lambda: query("up") == {"right": "1", "wrong": "0"})
        until("the counter", lambda: query("sum by (job) (dify_requests_total)") == {"right": "3"})
    assert "right" not in "\n".join(exporter.process.lines)


def test_wrong_passwords_at_rate_keep_nobody_out(secured: tuple[Exporter, trustme.CA]) -> None:
    exporter, authority = secured
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    assert ask(exporter, context, "prometheus:right") == 200
    stop, codes = threading.Event(), set()

    def guess(mine: int) -> int:
        number = 0
        while not stop.is_set():
            codes.add(ask(exporter, context, f"prometheus:{mine}-{number}"))
            number += 1
        return number

    with ThreadPoolExecutor(8) as pool:
        guessers = [pool.submit(guess, mine) for mine in range(8)]
        try:
            scrapes = [ask(exporter, context, "prometheus:right") for _ in range(30)]
        finally:
            stop.set()
    assert scrapes == [200] * 30
    assert codes == {401, 429}
    assert sum(each.result() for each in guessers) > 20


def test_a_public_address_without_passwords_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "access.log").touch()
    with serving(tmp_path, SOURCE, listen="0.0.0.0:0") as exporter:
        exporter.process.said("anyone who can reach")
    with serving(tmp_path, SOURCE) as exporter:
        assert not any("anyone who can reach" in line for line in exporter.process.lines)


def test_a_bad_web_config_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_text('[exporter]\nweb_config = "web.toml"\n' + SOURCE)
    (tmp_path / "web.toml").write_text("[tls_server_confg]\n")
    for command in ("serve", "check"):
        result = subprocess.run([COMMAND, command], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert 'unknown table "tls_server_confg", did you mean "tls_server_config"?' in result.stderr


def test_control_c_ends_it_clean_and_quick(tmp_path: Path) -> None:
    (tmp_path / "access.log").touch()
    with serving(tmp_path, SOURCE) as exporter:
        begun = time.monotonic()
        os.kill(exporter.process.pid, signal.SIGINT)
        assert exporter.process.ended() == 0
        assert time.monotonic() - begun < 10
        assert not any("Traceback" in line for line in exporter.process.lines)
