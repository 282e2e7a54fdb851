"""A sentence where the machine refuses what a command needs, and for what is no log file."""

import errno
import os
import resource
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.cli.limits import sentences
from exporter.replay.inputs import open_input
from tests.system.exporter import COMMAND

SAMPLE = Path(__file__).parents[3] / "samples/nginx-dify.log"


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))  # a path of at most 107 bytes


MADE: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a folder": os.mkdir,
    "a socket": bound_socket,
    "a device": lambda path: os.symlink("/dev/zero", path),
    "a file of the kernel": lambda path: os.symlink("/proc/kmsg", path),
}


@pytest.mark.parametrize("what", MADE)
def test_what_is_no_log_file_is_refused_at_once(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MADE[what](tmp_path / "it")
    (tmp_path / "exporter.toml").write_text('[[source]]\nname = "a"\npaths = ["it"]\nparser = "nginx"\n')
    for arguments, code in ((["replay", "it"], 2), (["replay"], 2), (["check"], 1)):
        found = CliRunner().invoke(main, arguments)
        assert found.exit_code == code
        sentence = f"it: is {what}, expected a log file"
        assert sentence in found.output
        assert isinstance(found.exception, SystemExit)


def test_a_named_file_of_the_kernel_is_refused_and_an_empty_log_is_not(tmp_path: Path) -> None:
    for file in ("/proc/self/status", "/proc/self/limits", "/proc/cpuinfo"):
        assert "is a file of the kernel" in CliRunner().invoke(main, ["replay", file]).output
    (tmp_path / "empty.log").touch()
    assert "is empty" in CliRunner().invoke(main, ["replay", str(tmp_path / "empty.log")]).output


@pytest.mark.system
def test_what_a_shell_has_opened_is_read() -> None:
    for script in (f"{COMMAND} replay <(cat {SAMPLE})", f"cat {SAMPLE} | {COMMAND} replay /dev/stdin"):
        found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, found.stderr
        assert "/v1/chat-messages" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("replay -", "-: standard input is closed"),
        ("replay /dev/stdin", "/dev/stdin: cannot be read: No such file or directory"),
        ("explain", "no line to explain"),
    ],
)
@pytest.mark.system
def test_standard_input_is_closed(arguments: str, sentence: str) -> None:
    script = f"{COMMAND} {arguments} <&-"
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.splitlines() == [f"dify-exporter: {found.stderr.strip().removeprefix('dify-exporter: ')}"]
    assert sentence in found.stderr


def test_a_log_that_vanishes_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"line\n" * 100_000)
    with open_input(str(log)) as opened:
        log.unlink()
        size = 0
        while block := opened.read(65_536):
            size += len(block)
    assert (size, opened.sample[:5]) == (500_000, b"line\n")


OUTPUTS = ["--version", "check", f"replay {SAMPLE}", f"replay --output metrics {SAMPLE}", "explain nonsense"]


@pytest.mark.parametrize("arguments", OUTPUTS)
@pytest.mark.system
def test_output_that_cannot_be_written_ends_in_a_sentence(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_text('[[source]]\nname = "a"\npaths = ["a.log"]\nparser = "nginx"\n')
    script = f"{COMMAND} {arguments} >/dev/full"
    found = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1] == "dify-exporter: standard output cannot be written: No space left on device"
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("arguments", [f"replay {SAMPLE}", f"replay --output metrics {SAMPLE}"])
@pytest.mark.system
def test_closed_output_is_no_error(arguments: str) -> None:
    found = subprocess.run(["bash", "-c", f"{COMMAND} {arguments} >&-"], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr


@pytest.mark.system
def test_no_memory_and_no_threads_end_in_a_sentence(tmp_path: Path) -> None:
    """From too little for the interpreter's libraries up to enough: a sentence at each step."""
    table = (
        '[exporter]\nlisten = "127.0.0.1:0"\nstate = ""\n[[source]]\nname = "a"\npaths = ["a.log"]\nparser = "nginx"\n'
    )
    (tmp_path / "exporter.toml").write_text(table)
    (tmp_path / "a.log").touch()
    known, ends = ("there is not enough memory", "no thread can be started"), set[str]()
    for size in range(40, 400, 10):
        limit = size << 20
        with subprocess.Popen(
            [COMMAND, "serve"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),  # noqa: PLW1509
        ) as process:  # fmt: skip
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "first pass done" in line:
                    process.terminate()
            text = "".join(lines)
        if "first pass done" in text:
            break
        assert process.returncode == 2, text
        assert "Traceback" not in text
        found = [sentence for sentence in known if f"dify-exporter: {sentence}" in text]
        assert found, text
        ends.update(found)
    assert "no thread can be started" in ends


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libz.so.1: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory", "/a/folder/of/python"),
        SystemError("error return without exception set"),
    ],
)
def test_each_error_for_too_little_memory_is_the_same_sentence(
    error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, sentences():
        raise error
    assert ended.value.code == 2
    assert "there is not enough memory" in capfd.readouterr().err
