"""Real nginx, real logrotate, and who counts what: `make rotation-matrix` prints the table.

Each case has a folder, a log and two lives: the exporter runs all the time, or is down while the log is rotated.
Requests go on during each rotation. Beside the exporter, unmodified Pygtail (a new object a second, as from cron)
and mtail count the same lines; they are down when the exporter is.
"""

import gzip
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import IO

import click
from msgspec import Struct
from pygtail import Pygtail

from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import find, running, until
from tests.system.test_nginx import MAIN, UnixConnection

#: logrotate's directives, by mode; a mode that names no directive rotates to `.1`.
MODES = {
    "create": "create",
    "nocreate": "nocreate",
    "copytruncate": "copytruncate",
    "copy": "copy",
    "renamecopy": "renamecopy\ncreate",
    "dateext": "create\ndateext\ndateformat -%Y%m%d-%s",
    "compress": "create\ncompress",
    "delaycompress": "create\ncompress\ndelaycompress",
    "olddir": "create\nolddir old",
    "olddir, log_patterns": "create\nolddir old",
    "extension": "create\nextension .log",
    "extension, dateext": "create\nextension .log\ndateext\ndateformat -%Y%m%d-%s",
    "extension, create, glob": "create\nextension .log",
    "extension, copytruncate, glob": "copytruncate\nextension .log",
    "extension, copy, glob": "copy\nextension .log\ndateext\ndateformat -%Y%m%d-%s",
}
WRITERS = ("reopens", "keeps")

_NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
worker_processes 2;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    log_format main {log_format};
    keepalive_requests 1000000;
    server {{
        listen unix:{folder}/nginx.sock;
        {locations}
    }}
}}
"""

_LINE = '127.0.0.1 - - [24/Nov/2026:10:00:00 +0000] "GET {path} HTTP/1.1" 200 2 "-" "keeper" "-"\n'

_MTAIL = "counter lines_total by file\n/$/ {\n  lines_total[getfilename()]++\n}\n"


class Row(Struct):
    """What came of a case: lines written, on disk at the end, counted by each, and bytes said to be lost."""

    mode: str
    writer: str
    down: bool
    written: int
    kept: int
    counted: int
    lost_bytes: int
    pygtail: int | None = None
    mtail: int | None = None


class Case:
    """One log: `write` adds a line through nginx, or through a descriptor that is never opened again."""

    def __init__(self, folder: Path, number: int, mode: str, writer: str) -> None:
        self.mode, self.writer, self.name = mode, writer, f"case{number}"
        self.folder = folder / self.name
        self.log = self.folder / "access.log"
        self.written = 0
        (self.folder / "old").mkdir(parents=True)
        self._kept: IO[bytes] | None = self.log.open("ab", buffering=0) if writer == "keeps" else None

    @property
    def source(self) -> str:
        patterns = 'log_patterns = ["old/{stem}{ext}.*"]\n' if self.mode.endswith("log_patterns") else ""
        name = "access*.log" if self.mode.endswith("glob") else "access.log"
        path = f'paths = ["{self.name}/{name}"]\n'
        return f'[[source]]\nname = "{self.name}"\n{path}{patterns}parser = "nginx"\nformat = "dify"\n'

    @property
    def rotation(self) -> str:
        kill = f"kill -USR1 $(cat {self.folder.parent}/nginx.pid)"
        script = f"postrotate\n{kill}\nendscript\n" if self.writer == "reopens" else ""
        owner = "su root root\n" if os.geteuid() == 0 else ""
        return f"{self.log} {{\nrotate 20\n{owner}{MODES[self.mode]}\n{script}}}\n"

    @property
    def location(self) -> str:
        return f"location /{self.name}/ {{ access_log {self.log} main; return 200 ok; }}"

    def write(self, nginx: HTTPConnection) -> None:
        path = f"/{self.name}/{self.written}."
        if self._kept:
            self._kept.write(_LINE.format(path=path).encode())
        else:
            nginx.request("GET", path)
            nginx.getresponse().read()
        self.written += 1

    def on_disk(self) -> int:
        """Lines that can still be read in any file."""
        found: set[bytes] = set()
        for file in self.folder.rglob("access*"):
            data = file.read_bytes()
            found.update(re.findall(rb"/case\d+/\d+\.", gzip.decompress(data) if file.suffix == ".gz" else data))
        return len(found)

    def close(self) -> None:
        if self._kept:
            self._kept.close()


class Peers:
    """What others count of the same logs; nothing where they are not asked."""

    def __init__(self, folder: Path, cases: list[Case]) -> None:
        self._folder, self._cases = folder, cases
        self.pygtail = dict.fromkeys([case.name for case in cases], 0)
        self.mtail = dict(self.pygtail)
        (folder / "count.mtail").write_text(_MTAIL)

    @contextmanager
    def up(self) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._poll, args=(ended,))
        logs = [flag for case in self._cases for flag in ("--logs", str(case.log))]
        socket = self._folder / "mtail.sock"
        socket.unlink(missing_ok=True)
        command = [find("mtail"), "--progs", str(self._folder / "count.mtail"), "--unix_socket", str(socket)]
        with running([*command, "--logtostderr", "--poll_interval", "250ms", *logs], self._folder):
            until("mtail to listen", socket.exists)
            thread.start()
            try:
                yield
                ended.wait(3)  # for several polls of both
            finally:
                ended.set()
                thread.join()
            self._ask(socket)

    def _ask(self, socket: Path) -> None:
        connection = UnixConnection(socket)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        for name, value in re.findall(r'lines_total\{file="[^"]*/(case\d+)/[^}]*\} (\d+)', text):
            self.mtail[name] += int(value)

    def _poll(self, ended: threading.Event) -> None:
        while not ended.wait(1):
            for case in self._cases:
                offset = str(case.folder / "pygtail.offset")
                try:
                    tail = Pygtail(str(case.log), offset_file=offset, full_lines=True, encoding="latin-1")
                    self.pygtail[case.name] += sum(1 for _ in tail)
                except FileNotFoundError:  # what it says where the log is away for a moment
                    continue


def rotate_all(folder: Path, cases: list[Case]) -> None:
    config = folder / "logrotate.conf"
    config.write_text("".join(case.rotation for case in cases))
    config.chmod(0o644)
    command = [find("logrotate"), "-f", "-s", str(folder / "logrotate.state"), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def traffic(cases: list[Case], nginx: HTTPConnection) -> Iterator[None]:
    """Lines go on being written until the block is left."""
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            for case in cases:
                case.write(nginx)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def exporter(folder: Path, cases: list[Case]) -> Iterator[Exporter]:
    head = '[exporter]\nlisten = "127.0.0.1:0"\nstart_at = "beginning"\n'
    (folder / "exporter.toml").write_text(head + "".join(case.source for case in cases))
    with running([COMMAND, "serve"], folder) as process:
        served = Exporter(process)
        process.said("first pass done")
        yield served


def nginx_of(folder: Path, cases: list[Case]) -> list[str]:
    locations = "\n".join(case.location for case in cases)
    user = "user root;" if os.geteuid() == 0 else ""
    text = _NGINX.format(folder=folder, log_format=MAIN, locations=locations, user=user)
    (folder / "nginx.conf").write_text(text)
    return [find("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "error.log")]


def by_source(served: Exporter, name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for labels, value in served.samples(name):
        found[labels["source"]] = found.get(labels["source"], 0) + int(value)
    return found


class Stage:
    """The logs, the nginx that writes half of them, and all who read them."""

    def __init__(self, folder: Path, lines: int, peers: bool) -> None:
        pairs = [(mode, writer) for mode in MODES for writer in WRITERS]
        self.folder, self.lines = folder, lines
        self.cases = [Case(folder, number, *pair) for number, pair in enumerate(pairs)]
        self.peers = Peers(folder, self.cases) if peers else None
        self.nginx = UnixConnection(folder / "nginx.sock")

    @contextmanager
    def writing(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(running(nginx_of(self.folder, self.cases), self.folder))
            until("nginx to listen", (self.folder / "nginx.sock").exists)
            stack.callback(self.nginx.close)
            for case in self.cases:
                stack.callback(case.close)
            yield

    @contextmanager
    def reading(self) -> Iterator[Exporter]:
        with ExitStack() as stack:
            if self.peers:
                stack.enter_context(self.peers.up())
            yield stack.enter_context(exporter(self.folder, self.cases))

    def write(self) -> None:
        for _ in range(self.lines):
            for case in self.cases:
                case.write(self.nginx)

    def rotate(self, times: int) -> None:
        for number in range(1, times + 1):
            with traffic(self.cases, self.nginx):
                rotate_all(self.folder, self.cases)
            self.write()
            if number < times:
                until("another name in logrotate's dateformat", _two_seconds_on())


def run(folder: Path, down: bool, rotations: int, lines: int, peers: bool) -> list[Row]:
    """`lines` before, between and after the rotations, and those that are written while they take place."""
    stage = Stage(folder, lines, peers)
    with stage.writing():
        with stage.reading() as served:
            stage.write()
            _caught_up(served, {case.name: case.written for case in stage.cases})
            if not down:
                stage.rotate(rotations)
                counted, lost = _settled(served, stage.cases)
        if down:
            stage.rotate(rotations)
            with stage.reading() as served:
                stage.write()
                counted, lost = _settled(served, stage.cases)
        return [_row(case, down, counted, lost, stage.peers) for case in stage.cases]


def _row(case: Case, down: bool, counted: dict[str, int], lost: dict[str, int], others: Peers | None) -> Row:
    name = case.name
    row = Row(case.mode, case.writer, down, case.written, case.on_disk(), counted[name], lost[name])
    if others:
        row.pygtail, row.mtail = others.pygtail[name], others.mtail[name]
    return row


def _caught_up(served: Exporter, expected: dict[str, int]) -> None:
    def behind() -> dict[str, tuple[int, int]]:
        counted = by_source(served, "dify_exporter_lines_total")
        return {name: (counted[name], lines) for name, lines in expected.items() if counted[name] < lines}

    until("all lines to be counted", lambda: not behind())


def _settled(served: Exporter, cases: list[Case]) -> tuple[dict[str, int], dict[str, int]]:
    """Everything on disk is counted, and the time for finding copies is over."""
    _caught_up(served, {case.name: case.on_disk() for case in cases})
    found_by = time.monotonic() + 6
    pause = threading.Event()
    while time.monotonic() < found_by:
        counted = by_source(served, "dify_exporter_lines_total")
        if all(counted[case.name] >= case.written for case in cases):
            break
        pause.wait(0.2)
    pause.wait(1.5)  # a poll more: what is counted twice shows
    return by_source(served, "dify_exporter_lines_total"), by_source(served, "dify_exporter_lost_bytes_total")


def _two_seconds_on() -> Callable[[], bool]:
    """`%s` there is time(2), whose coarse clock lags behind ours: one second was not always enough."""
    begun = int(time.time())
    return lambda: int(time.time()) > begun + 1


@click.command()
@click.option("--rotations", default=2, show_default=True, help="Rotations of each log.")
@click.option("--lines", default=50, show_default=True, help="Lines before, between and after them.")
def main(rotations: int, lines: int) -> None:
    """Print what the exporter, Pygtail and mtail count of logs that a real logrotate rotates."""
    form = "{:22} {:8} {:5} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8}"
    click.echo(
        form.format("logrotate", "writer", "down", "written", "on disk", "counted", "lost bytes", "Pygtail", "mtail")
    )
    bad = 0
    for down in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            for row in run(Path(folder), down, rotations, lines, peers=True):
                bad += not row.kept <= row.counted <= row.written
                values = (row.mode, row.writer, "yes" if down else "no", row.written, row.kept, row.counted)
                click.echo(form.format(*values, row.lost_bytes, row.pygtail, row.mtail))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
