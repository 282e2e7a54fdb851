"""Archives at addresses give the numbers of local files; what goes wrong is a sentence without credentials."""

import gzip
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest
from backports import zstd
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.messages import address
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


@pytest.mark.parametrize("command", ["replay", "report"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("memory://logs/none.log", "memory://logs/none.log: does not exist"),
        ("memory://logs/*.gz", "memory://logs/*.gz: nothing matches"),
        ("nothing://me:canary@host/a?canary", "nothing://host/a: cannot be read: Protocol not known: nothing"),
        ("gs://bucket/a.log", "gs://bucket/a.log: a package is missing: Please install gcsfs to access Google Storage"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(command: str, name: str, sentence: str) -> None:
    found = run(command, name)
    assert (found.exit_code, found.stdout, found.stderr) == (2, "", f"dify-exporter: {sentence}\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a.gz: does not exist", "s3://bucket/a.gz: does not exist"),
        ("https://me:secret@host:80/a@b.gz", "https://host:80/a@b.gz"),
        ("https://me:sec/ret@host/a.gz", "https://host/a.gz"),
        ("https://host/a.gz?se=2026-01-01T00:00:00Z&sig=x%2F", "https://host/a.gz"),
        ("hdfs://me@host/a and HTTP://x:y@z/#t", "hdfs://host/a and HTTP://z/"),
        ("/var/log/a@b.log?", "/var/log/a@b.log?"),
    ],
)
def test_no_address_shows_credentials(text: str, shown: str) -> None:
    assert address(text) == shown
