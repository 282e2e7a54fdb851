"""Starting real programs: wait for what they say, show what they said when a test fails."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

DEADLINE = 60.0


def find(program: str) -> str:
    """The path of a program; without it the test is skipped."""
    beside_python = Path(sys.executable).parent  # helm and kubectl
    path = shutil.which(program, path=f"{beside_python}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"{program} is not installed; `make test` installs it")
    return path


def free_port() -> int:
    """A port for a program that must know its own address before it starts, and so cannot take 0."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(what: str, condition: Callable[[], T], deadline: float = DEADLINE) -> T:
    """Wait until a condition is true, and return its answer. A failure names `what` and the last answer.

    The pauses grow to a fifth of a second, because frequent checks would slow down the programs under test.
    """
    end = time.monotonic() + deadline
    pause, seconds = threading.Event(), 0.02
    while not (answer := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline} s for {what}; last answer: {answer!r}")
        pause.wait(seconds)
        seconds = min(0.2, seconds * 1.1)
    return answer


class Process:
    """A running program and everything it has printed."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
        self.command = command
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self, text: str, deadline: float = DEADLINE) -> str:
        """Waits for a line with this text and gives it."""

        def look() -> str | None:
            if self._process.poll() is not None:
                self._reader.join()
                pytest.fail(f"{self.command[0]} ended with {self._process.returncode}:\n" + "\n".join(self.lines))
            return next((line for line in self.lines if text in line), None)

        return until(f"{Path(self.command[0]).name} to say {text!r}", look, deadline)

    def ended(self) -> int:
        """Waits for its end, that somebody else has asked for, and gives its exit code."""
        return self._process.wait(DEADLINE)

    def send(self, number: int) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once (SIGKILL), as a crash does."""
        self._process.kill()
        self._process.wait(DEADLINE)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stop(self) -> int:
        """Asks it to end (SIGTERM) and gives its exit code."""
        self._process.terminate()
        try:
            code = self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
        return code


class WsgiProgram:
    """A running `dify-exporter proxy` or `receive`, with its log and where it listens."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self.log = log
        found = re.search(r"http://([^:]+):(\d+)", process.said("Listening at"))
        assert found is not None
        self.url = found[0]
        self.address = found[1], int(found[2])
        process.said("Booting worker")


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[Process]:
    process = Process(command, folder, environment)
    try:
        yield process
    except BaseException:
        print(f"--- {' '.join(command)}\n" + "\n".join(process.lines))
        raise
    finally:
        process.stop()
