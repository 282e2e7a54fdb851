"""Archives at addresses give the numbers of local files; what goes wrong is a sentence without credentials."""

import gzip
import multiprocessing
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import fsspec
import pytest
from backports import zstd
from click.testing import CliRunner, Result
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.registry import _registry

from exporter.cli import main
from exporter.messages import address
from exporter.replay import remote
from exporter.replay.named import named_files
from tests.golden import ROOT

LOG = (ROOT / "samples" / "nginx-dify-timed.log").read_bytes()
WORKER = (ROOT / "samples" / "dify-worker.log").read_bytes()


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def run(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [command, *arguments])


def test_a_pattern_gives_the_numbers_of_the_local_files(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    contents = {"a.log": LOG, "b.log.gz": gzip.compress(WORKER), "c.log.zst": zstd.compress(LOG[100_000:] or LOG[5:])}
    for name, content in contents.items():
        bucket.pipe(f"/logs/{name}", content)
        (tmp_path / name).write_bytes(content)
    found = run("replay", "memory://logs/*.*", "--output", "metrics")
    assert found.exit_code == 0, found.output
    assert found.stdout == run("replay", *(str(tmp_path / name) for name in contents), "--output", "metrics").stdout
    assert "memory://logs/b.log.gz: read as" in found.stderr


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("logs/*", ["logs/a", "logs/b"]),
        ("logs/*/*", ["logs/sub/c"]),
        ("logs/**", ["logs/a", "logs/b", "logs/sub/c", "logs/sub/deep/d"]),
        ("*/a", ["logs/a"]),
    ],
)
def test_a_pattern_matches_files_and_no_folders_here_and_there(
    bucket: fsspec.AbstractFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    matched: list[str],
) -> None:
    for name in ("a", "b", "sub/c", "sub/deep/d"):
        content = name.encode() + LOG
        bucket.pipe(f"/logs/{name}", content)
        (tmp_path / "logs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logs" / name).write_bytes(content)
    (tmp_path / "logs/empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named_files([pattern], print) == matched
    assert named_files([f"memory://{pattern}"], print) == [f"memory://{name}" for name in matched]


def test_a_pattern_that_matches_only_folders_matches_nothing(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe("/logs/sub/a", LOG)
    (tmp_path / "logs/sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "logs/*: cannot be read: No such file" in run("replay", "logs/*").stderr
    assert "memory://logs/*: no file matches" in run("replay", "memory://logs/*").stderr


class Azure(MemoryFileSystem):
    """An address may name the account behind the container, as in adlfs/spec.py (_strip_protocol)."""

    protocol = "abfs"
    store: ClassVar[dict[str, Any]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        container, at, rest = path.removeprefix("abfs://").partition("@")
        path = container + rest[rest.find("/") :] if at else container
        return "/" + path.strip("/")


@pytest.mark.parametrize("account", ["", "@account", "@account.dfs.core.windows.net", "@mylogs"])
def test_the_account_of_a_pattern_is_that_of_each_file(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    monkeypatch.setitem(_registry, "abfs", Azure)
    monkeypatch.setattr(Azure, "store", {})
    Azure().pipe("/logs/2026/a.log", LOG)
    Azure().pipe("/logs/2026/b.log", LOG)
    names = [f"abfs://logs{account}/2026/{file}" for file in ("a.log", "b.log")]
    assert remote.expanded(f"abfs://logs{account}/2026/*.log") == names
    assert remote.expanded(f"abfs://logs{account}/*/?.log") == names
    found = run("report", f"abfs://logs{account}/20*/*")
    assert f"{names[1]}: is a copy of {names[0]} and is counted once" in found.stderr


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_packed_archive_that_is_cut_is_read_up_to_there(
    bucket: fsspec.AbstractFileSystem, pack: Callable[[bytes], bytes]
) -> None:
    line = '10.0.0.1 - - [23/Nov/2026:08:00:00 +0000] "GET /%s HTTP/1.1" 200 5 "-" "-"\n'
    paths = (sha256(number.to_bytes(2)).hexdigest() for number in range(8000))
    packed = pack("".join(line % path for path in paths).encode())
    bucket.pipe("/cut", packed[: len(packed) // 2])
    found = run("replay", "memory://cut", "--output", "json")
    assert found.exit_code == 2
    assert "memory://cut: is cut or damaged, and is read up to there: Compressed file ended before" in found.stderr
    assert '"observed": 0' not in found.stdout


def test_a_copy_counts_once(bucket: fsspec.AbstractFileSystem) -> None:
    bucket.pipe("/logs/a.log", LOG)
    bucket.pipe("/logs/b.log.gz", gzip.compress(LOG))
    found = run("replay", "memory://logs/*", "--output", "metrics")
    assert "memory://logs/b.log.gz: is a copy of memory://logs/a.log and is counted once" in found.stderr
    assert found.stdout == run("replay", "memory://logs/a.log", "--output", "metrics").stdout


def test_of_equal_ones_the_file_of_this_machine_is_read(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    """`backfill --adopt` needs the log itself, whatever the order of the names is."""
    bucket.pipe("/logs/a.log", LOG)
    (tmp_path / "a.log").write_bytes(LOG)
    names = ["memory://logs/a.log", str(tmp_path / "a.log")]
    for order in (names, names[::-1]):
        found = run("replay", *order, "--output", "metrics")
        assert found.stderr.count(": read as ") == 1
        assert f"{tmp_path}/a.log: read as " in found.stderr


@pytest.mark.parametrize("command", ["replay", "report"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("memory://logs/none.log", "memory://logs/none.log: does not exist"),
        ("memory://logs/*.gz", "memory://logs/*.gz: no file matches"),
        ("nothing://me:canary@host/a?canary", "nothing://host/a: cannot be read: Protocol not known: nothing"),
        ("gs://bucket/a.log", "gs://bucket/a.log: a package is missing: Please install gcsfs to access Google Storage"),
        ("memory://old", "memory://old: is a folder: name the files in it, with a * if need be"),
        (
            "hdfs://me@namenode/a.log",
            "hdfs://namenode/a.log: names no NameNode: write hdfs://HOST:PORT/…, or set HADOOP_CONF_DIR to the folder of "
            "hdfs-site.xml",
        ),
    ],
)
def test_what_cannot_be_read_is_a_sentence(
    bucket: fsspec.AbstractFileSystem, command: str, name: str, sentence: str
) -> None:
    bucket.pipe("/old/a.log", LOG)
    found = run(command, name)
    assert (found.exit_code, found.stdout, found.stderr) == (2, "", f"dify-exporter: {sentence}\n")


@pytest.mark.parametrize(("package", "extra", "name"), [
    ("fsspec.core", "remote", "s3://bucket/a.log"),
    ("hdfs_native", "hdfs", "hdfs://namenode:8020/a.log"),
])  # fmt: skip
def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch, package: str, extra: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    found = run("report", name)
    assert (found.exit_code, found.stdout, found.stderr) == (
        2, "", f"dify-exporter: {name}: install dify-exporter[{extra}] to read such addresses\n",
    )  # fmt: skip


@pytest.mark.parametrize("scheme", ["hdfs", "webhdfs"])
def test_a_server_that_hangs_is_a_sentence(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """The clients of HDFS have no limit of their own."""
    monkeypatch.setattr(remote, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a.log"
        found = run("report", name)
    assert (found.exit_code, found.stdout, found.stderr) == (
        2, "", f"dify-exporter: {name}: the server has not answered for 0 s\n",
    )  # fmt: skip


def test_an_archive_that_ends_too_early_is_a_sentence(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe("/a.log", LOG)
    monkeypatch.setattr(MemoryFile, "size", len(LOG) + 1)
    found = run("report", "memory://a.log")
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"dify-exporter: memory://a.log: ends after {len(LOG)} of its {len(LOG) + 1} bytes\n" in found.stderr


def test_the_processes_start_before_an_address_is_opened(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filesystem may start threads, such as the one of HDFS. A process that is forked beside them hangs."""
    bucket.pipe("/logs/a.log", LOG)
    seen: list[int] = []
    expanded = remote.expanded

    def counting(name: str) -> list[str]:
        seen.append(len(multiprocessing.active_children()))
        return expanded(name)

    monkeypatch.setattr(remote, "expanded", counting)
    for command in (["replay"], ["report"], ["backfill", "--output", "-"]):
        assert run(*command, "memory://logs/*", "--processes", "2").exit_code == 0
    assert seen == [2, 2, 2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a.gz: does not exist", "s3://bucket/a.gz: does not exist"),
        ("https://me:secret@host:80/a@b.gz", "https://host:80/a@b.gz"),
        ("https://me:sec/ret@host/a.gz", "https://host/a.gz"),
        ("https://host/a.gz?se=2026-01-01T00:00:00Z&sig=x%2F", "https://host/a.gz"),
        ("hdfs://me@host/a and HTTP://x:y@z/#t", "hdfs://host/a and HTTP://z/"),
        ("/var/log/a@b.log?", "/var/log/a@b.log?"),
        ("abfs://logs@account/a.gz?sv=x", "abfs://logs@account/a.gz"),
        ("ABFSS://logs@account/a@b.gz", "ABFSS://logs@account/a@b.gz"),
        ("az://me:secret@account/a.gz", "az://account/a.gz"),
        ("abfs://me:sec/ret@account/a.gz", "abfs://account/a.gz"),
        ("abfs://logs@me:secret@account/a.gz", "abfs://account/a.gz"),
    ],
)
def test_no_address_shows_credentials(text: str, shown: str) -> None:
    assert address(text) == shown


class Web(ThreadingHTTPServer):
    """Serves the log. The path selects the behaviour of the server, such as ranges, chunks or an error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: Counter[str] = Counter()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def log_message(self, *_: object) -> None:
        """Standard error belongs to the program under test."""

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, has_body: bool) -> None:
        manner = self.path.split("/")[1]
        self.server.asked[self.path] += 1
        if manner.isdigit():
            self.send_error(int(manner))
            return
        is_new = manner == "replaced" and self.server.asked[self.path] > 3
        log = LOG.replace(b"/v1/", b"/v2/") if is_new else LOG
        begin, end, status = 0, len(log), 200
        if "Range" in self.headers and manner not in ("norange", "chunked"):
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            begin, end, status = int(first), min(len(log), int(last) + 1), 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(log)}")
        self.send_header("ETag", f'"{sha256(log).hexdigest()}"')
        if manner == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (end, log)
        else:
            self.send_header("Content-Length", str(end - begin))
            body = log[begin:end]
        if manner not in ("norange", "chunked"):
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if has_body and manner == "reset":
            self.wfile.write(body[: len(body) // 2])
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif has_body:
            self.wfile.write(body)


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with Web() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("manner", ["plain", "norange", "chunked"])
def test_a_web_server_with_and_without_ranges_gives_the_numbers_of_the_file(
    web: str, manner: str, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(LOG)
    found = run("replay", f"{web}/{manner}/a.log", "--output", "metrics")
    assert found.exit_code == 0, found.output
    assert found.stdout == run("replay", str(tmp_path / "a.log"), "--output", "metrics").stdout


@pytest.mark.parametrize(
    ("manner", "sentence"),
    [
        ("401", "may not be read: the credentials are missing or do not suffice"),
        ("403", "may not be read: the credentials are missing or do not suffice"),
        ("404", "does not exist"),
        ("503", "the server answers with the status 503"),
        ("reset", "cannot be read: ClientPayloadError: "),
        ("replaced", "was changed while it was read: run the command again"),
    ],
)
def test_what_goes_wrong_at_a_web_server_is_a_sentence(web: str, manner: str, sentence: str) -> None:
    found = run("report", f"{web}/{manner}/a.log?signature=canary")
    assert (found.exit_code, found.stdout) == (2, "")
    said = found.stderr.splitlines()[-1]
    assert said.startswith(f"dify-exporter: {web}/{manner}/a.log: {sentence}")
    assert "canary" not in found.stderr


@pytest.mark.parametrize("command", [("replay",), ("report",), ("backfill", "--output", "-")], ids=lambda each: each[0])
def test_an_address_that_fails_is_opened_once(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Some clients try for half a minute to reach a server that is gone."""
    bucket.pipe("/a.log", LOG)
    asked: list[str] = []
    opened = remote.opened

    def counting(name: str) -> AbstractContextManager[BufferedReader]:
        asked.append(name)
        return opened(name)

    monkeypatch.setattr(remote, "opened", counting)
    found = run(*command, "memory://gone/1", "memory://a.log", "memory://gone/2")
    assert found.exit_code == 2
    assert "memory://gone/1: does not exist\n" in found.stderr
    assert ("memory://gone/2: does not exist\n" in found.stderr) == (command == ("replay",))
    assert asked.count("memory://gone/1") == 1
    assert asked.count("memory://gone/2") == (command == ("replay",))


def test_a_web_server_that_is_gone_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        name = f"http://127.0.0.1:{closed.getsockname()[1]}/a.log"
    found = run("report", name)
    assert (found.exit_code, found.stdout, found.stderr) == (
        2, "", f"dify-exporter: {name}: the server cannot be reached\n",
    )  # fmt: skip
