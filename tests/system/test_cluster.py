"""A real cluster of Dask, and archives in a real S3 server: the output is byte for byte that of this machine.

A worker that does not answer is a stopped process: its pieces cannot be finished before it is killed.
"""

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import boto3
import pytest
from click.testing import CliRunner

from exporter.cli import main
from tests.golden import ROOT
from tests.system.programs import Process, find, until

pytestmark = pytest.mark.system

COMMAND = str(Path(sys.executable).with_name("dify-exporter"))
LINES = (ROOT / "samples" / "nginx-dify-timed.log").read_bytes().splitlines(keepends=True)


@contextmanager
def program(command: list[str], environment: dict[str, str]) -> Iterator[Process]:
    process = Process(command, ROOT, environment)
    try:
        yield process
    finally:
        process.kill()


class Cluster:
    """A scheduler, and as many workers as are started."""

    def __init__(self, stack: ExitStack, environment: dict[str, str]) -> None:
        self._stack, self._environment = stack, environment
        self.scheduler = self._start(
            ["scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"], {}
        )
        self.address = re.search(r"tcp://\S+", self.scheduler.said("Scheduler at:"))[0]  # type: ignore[index]

    def _start(self, arguments: list[str], added: dict[str, str]) -> Process:
        command = [find("dask"), *arguments]
        return self._stack.enter_context(program(command, {**self._environment, **added}))

    def workers(self, number: int = 1, **added: str) -> list[Process]:
        arguments = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        started = [self._start(arguments, added) for _ in range(number)]
        for worker in started:
            worker.said("Registered to")
        return started


class Command:
    """A running command of ours, whose standard error is a file."""

    def __init__(self, environment: dict[str, str], folder: Path, *arguments: str) -> None:
        self._errors = folder / f"errors-{len([*folder.iterdir()])}"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def has_opened(self, number: int) -> bool:
        """Whether it has opened so many logs."""
        return self._errors.read_text().count(": read as ") >= number

    def ended(self) -> tuple[int | None, str, list[str]]:
        """Its exit code, its output, and its messages."""
        output, _ = self._process.communicate(timeout=200)
        return self._process.returncode, output, self._errors.read_text().splitlines()


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    for number in range(12):
        content = b"".join(LINES[number:] * 20)
        packed = number % 4 != 3
        name = f"access.log-{number:02}{'.gz' if packed else ''}"
        (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """That of programs which know an S3 server."""
    known = {**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    with program([find("moto_server"), "-H", "127.0.0.1", "-p", "0"], known) as server:
        address = re.search(r"http://\S+", server.said("Running on"))[0]  # type: ignore[index]
        yield {**known, "AWS_ENDPOINT_URL": address}


def upload(folder: Path, environment: dict[str, str]) -> None:
    """Put the files of a folder into a new bucket."""
    session = boto3.session.Session("a", "b", region_name="us-east-1")
    client = session.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"])
    client.create_bucket(Bucket="logs")
    for path in folder.iterdir():
        client.put_object(Bucket="logs", Key=f"old/{path.name}", Body=path.read_bytes())
    client.close()


@pytest.mark.timeout(600)  # of a busy machine; alone it takes seconds
def test_a_cluster_counts_as_this_machine_does(archives: Path, environment: dict[str, str], tmp_path: Path) -> None:
    upload(archives, environment)
    commands = [
        ["replay", "--output", "metrics"],
        ["report", "--by", "hour", "--group", "route", "--output", "json"],
        ["backfill", "--output", "-"],
    ]
    here = [CliRunner().invoke(main, [*command, str(archives / "*"), "--processes", "1"]) for command in commands]
    assert all(each.exit_code == 0 and len(each.stdout) > 1000 for each in here)
    with ExitStack() as stack:
        cluster = Cluster(stack, environment)

        def start(command: list[str]) -> Command:
            return Command(environment, tmp_path, *command, "s3://logs/old/*", "--cluster", cluster.address)

        lost, kept = cluster.workers(2)
        found = [each.ended() for each in [start(command) for command in commands[1:]]]
        assert [each[:2] for each in found] == [(0, each.stdout) for each in here[1:]]
        # A worker is lost with the pieces that it was parsing.
        lost.send(signal.SIGSTOP)
        replay = start(commands[0])
        until("pieces that are given out", lambda: replay.has_opened(6), 200)
        lost.send(signal.SIGKILL)
        assert replay.ended()[:2] == (0, here[0].stdout)
        kept.send(signal.SIGKILL)
        # A worker has another version.
        shutil.copytree(ROOT / "exporter", tmp_path / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "exporter" / "__init__.py").write_text('__version__ = "0.0.9"\n')
        [other] = cluster.workers(PYTHONPATH=str(tmp_path))
        code, output, said = start(commands[0]).ended()
        assert (code, output) == (2, "")
        assert re.search(r"the worker \S+ has dify-exporter 0\.0\.9, and this machine dify-exporter \S+: ", said[-1])
        # The scheduler goes away.
        other.send(signal.SIGSTOP)
        replay = start(commands[0])
        until("pieces that are given out", lambda: replay.has_opened(3), 200)
        cluster.scheduler.send(signal.SIGKILL)
        gone = f"dify-exporter: {cluster.address}: the scheduler is gone; there is no result"
        code, output, said = replay.ended()
        assert (code, output, said[-1]) == (2, "", gone)


class Refusing(BaseHTTPRequestHandler):
    """A server that refuses all but one path."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.startswith("/log?") else 403)
        self.end_headers()
        self.wfile.write(b"".join(LINES))

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()


@pytest.mark.timeout(600)
def test_what_may_not_be_read_is_said_without_credentials(environment: dict[str, str], tmp_path: Path) -> None:
    upload(tmp_path, environment)
    checks = Request(f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
    urlopen(checks, timeout=60).close()
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}"
        refused = "may not be read: the credentials are missing or do not suffice"
        expected = {
            "s3://logs/old/a.gz": (2, f"dify-exporter: s3://logs/old/a.gz: {refused}"),
            f"http://me:canary@{place}/a.gz?canary": (2, f"dify-exporter: http://{place}/a.gz: {refused}"),
            f"http://me:canary@{place}/log?canary": (0, "nginx: events from 2026-11-24T11:11:42Z to 2026-11-24T11:11:46Z"),
            "http://me:canary@127.0.0.1:1/a?canary": (
                2, "dify-exporter: http://127.0.0.1:1/a: the server cannot be reached",
            ),
        }  # fmt: skip
        started = [Command(environment, tmp_path, "replay", name, "--output", "metrics") for name in expected]
        found = [command.ended() for command in started]
        server.shutdown()
    for (wanted, sentence), (code, _, said) in zip(expected.values(), found, strict=True):
        # fsspec ends its connections by force after 0.1 s: on a slow machine it then prints a message, too.
        assert (code, said.count(sentence)) == (wanted, 1), said
    assert not any("canary" in path.read_text() for path in tmp_path.glob("errors-*"))
