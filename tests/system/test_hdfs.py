"""Archives in a real HDFS (a NameNode and a DataNode in one Java process), by its own protocol and over HTTP.

`make test-hdfs` gets Hadoop's packages, and runs these tests.
"""

import gzip
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import fsspec
import pytest
from backports import zstd
from click.testing import CliRunner

from exporter.cli import main
from tests.golden import ROOT
from tests.system.programs import Process, find
from tests.system.test_cluster import Cluster, Command, program

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]  # of a busy machine; alone they take a minute or two

NGINX = (ROOT / "samples" / "nginx-dify-timed.log").read_bytes()
WORKER = (ROOT / "samples" / "dify-worker.log").read_bytes()
COMMANDS = [
    ["replay", "--output", "metrics"],
    ["report"],
    ["report", "--by", "hour", "--group", "route", "--output", "json"],
    ["backfill", "--output", "-"],
]
SUPERUSER = {**os.environ, "HADOOP_USER_NAME": "hdfs"}
NOBODY = {**os.environ, "HADOOP_USER_NAME": "nobody"}


class Hdfs(NamedTuple):
    process: Process
    folder: Path
    native: str
    web: str

    def addresses(self, path: str) -> list[str]:
        return [f"{self.native}/{path}", f"{self.web}/{path}"]

    def blocks(self) -> set[Path]:
        return set(self.folder.rglob("blk_*")) - set(self.folder.rglob("*.meta"))


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    contents = {
        "access.log": NGINX * (1 + (1 << 25) // len(NGINX)),  # several pieces
        "access.log.1.gz": gzip.compress(NGINX[200:] * 300),
        "worker.log.zst": zstd.compress(WORKER),
        "worker 100%25 größer.log": WORKER[300:],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def hdfs(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    folder = tmp_path_factory.mktemp("hdfs")
    command = [
        find("java"),
        "-Xmx512m",
        "-cp",
        f"{os.environ['HDFS']}/*",
        "tests/system/hdfs/Cluster.java",
        str(folder),
    ]
    with program(command, SUPERUSER) as process:
        ports = re.search(r"ready at (\d+) and (\d+)", process.said("ready at", 200))
        assert ports is not None
        found = Hdfs(process, folder, f"hdfs://127.0.0.1:{ports[1]}", f"webhdfs://127.0.0.1:{ports[2]}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HADOOP_USER_NAME", SUPERUSER["HADOOP_USER_NAME"])
            system, _ = fsspec.url_to_fs(found.native)
            for path in archives.iterdir():
                system.pipe(f"/logs/{path.name}", path.read_bytes())
            system.pipe("/private/in/a.log", NGINX)
            system.pipe("/closed.log", NGINX)
            system.client.create("/odd/a#1.log").close()
            system.client.set_permission("/private", 0o700)
            system.client.set_permission("/closed.log", 0o600)
            yield found


def test_the_numbers_are_those_of_local_files(hdfs: Hdfs, archives: Path, tmp_path: Path) -> None:
    for command in COMMANDS:
        here = CliRunner().invoke(main, [*command, str(archives / "*"), "--processes", "1"])
        assert here.exit_code == 0
        assert len(here.stdout) > 1000
        for address in hdfs.addresses("logs/*"):
            found = Command(NOBODY, tmp_path, *command, address, "--processes", "2").ended()
            assert found[:2] == (0, here.stdout)


def test_a_cluster_counts_as_this_machine_does(hdfs: Hdfs, archives: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = Cluster(stack, NOBODY)
        cluster.workers(2)
        for command in COMMANDS:
            here = CliRunner().invoke(main, [*command, str(archives / "*"), "--processes", "1"])
            for address in hdfs.addresses("logs/*"):
                found = Command(NOBODY, tmp_path, *command, address, "--cluster", cluster.address).ended()
                assert found[:2] == (0, here.stdout)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("none.log", "does not exist"),
        ("logs/*.bz2", "no file matches"),
        ("none/*", "does not exist"),
        ("logs", "is a folder: name the files in it, with a * if need be"),
        ("private/in/a.log", "may not be read: the credentials are missing or do not suffice"),
        ("private/*", "may not be read: the credentials are missing or do not suffice"),
        ("closed.log", "may not be read: the credentials are missing or do not suffice"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(hdfs: Hdfs, tmp_path: Path, path: str, sentence: str) -> None:
    for address in hdfs.addresses(path):
        found = Command(NOBODY, tmp_path, "report", address).ended()
        assert found == (2, "", [f"dify-exporter: {address}: {sentence}"])


def test_a_name_with_a_hash_is_not_that_of_another_file(hdfs: Hdfs, tmp_path: Path) -> None:
    found = Command(NOBODY, tmp_path, "report", f"{hdfs.native}/odd/*").ended()
    reason = "matches a file whose name no address can hold: /odd/a#1.log"
    assert found == (2, "", [f"dify-exporter: {hdfs.native}/odd/*: {reason}"])


def test_an_archive_whose_block_is_lost_gives_no_numbers(hdfs: Hdfs, tmp_path: Path) -> None:
    """A DataNode that cannot serve a block answers over HTTP with an error, which is not the content of the file."""
    before = hdfs.blocks()
    system, _ = fsspec.url_to_fs(hdfs.native)
    system.mkdir("/lost")
    system.pipe("/lost/a.log", NGINX * 1000)
    for block in hdfs.blocks() - before:
        block.unlink()
    for address in hdfs.addresses("lost/a.log"):
        code, output, (sentence,) = Command(NOBODY, tmp_path, "report", address).ended()
        assert (code, output) == (2, "")
        assert sentence.startswith(f"dify-exporter: {address}: cannot be read: ")
        assert "\\n" not in sentence


def test_a_server_that_goes_away_is_a_sentence(hdfs: Hdfs, tmp_path: Path) -> None:
    addresses = hdfs.addresses("logs/access.log")
    running = [Command(NOBODY, tmp_path, "report", address, "--processes", "1") for address in addresses]
    while not all(each.has_opened(1) for each in running):
        pass
    hdfs.process.send(signal.SIGKILL)
    for address, command in zip(addresses, running, strict=True):
        code, output, sentences = command.ended()
        assert (code, output) == (2, "")
        assert sentences[-1].startswith(f"dify-exporter: {address}: ")
    for path in ("logs/access.log", "logs/*"):
        addresses = hdfs.addresses(path)
        running = [Command(NOBODY, tmp_path, "report", address) for address in addresses]
        native, web = [command.ended() for command in running]
        reason = "the NameNode cannot be reached: Connection refused (os error 111)"
        assert native == (2, "", [f"dify-exporter: {addresses[0]}: {reason}"])
        assert web == (2, "", [f"dify-exporter: {addresses[1]}: the server cannot be reached"])
