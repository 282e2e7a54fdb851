"""Why a log cannot be read; as root nothing is forbidden, so a child of another user looks."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.tail.permissions import file_problem


def test_a_readable_file_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "x.log").touch()
    (tmp_path / "link.log").symlink_to("x.log")
    assert file_problem(tmp_path / "x.log") is file_problem(tmp_path / "link.log") is None


def test_what_is_no_file_is_refused_by_its_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to("loop")
    kinds = {
        tmp_path: "a folder",
        tmp_path / "fifo": "a FIFO",
        tmp_path / "socket": "a socket",
        Path("/dev/null"): "a device",
    }
    for path, kind in kinds.items():
        assert str(file_problem(path)).startswith(f"{path}: is {kind}, expected a log file; ")
    assert file_problem(tmp_path / "none") == f"{tmp_path / 'none'}: No such file or directory"
    assert file_problem(tmp_path / "no" / "where") == f"{tmp_path / 'no' / 'where'}: No such file or directory"
    assert str(file_problem(tmp_path / "loop")).endswith("Too many levels of symbolic links")


def as_nobody(path: Path) -> str:
    """Return what `file_problem` says to a user who owns no file."""
    code = (
        "import os, sys; os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534)); "
        "from exporter.tail.permissions import file_problem; from pathlib import Path; print(file_problem(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", f"import exporter.tail.permissions; {code}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    return re.sub(r"user \w+ may", "user X may", done.stdout.replace("u:nobody:", "u:X:")).strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can forbid a file to another user")
class TestPermissions:
    def test_a_file_of_roots_group_needs_an_access_list(self, open_folder: Path) -> None:
        file = open_folder / "access.log"
        file.touch(0o640)
        assert as_nobody(file) == (
            f"{file}: user X may not read {file} (root:root -rw-r-----); as root, run `setfacl -m u:X:r {file}` "
            f"and, for the file after the next rotation, `setfacl -d -m u:X:r {open_folder}`"
        )

    def test_a_file_of_another_group_needs_that_group(self, open_folder: Path) -> None:
        file = open_folder / "access.log"
        file.touch(0o640)
        os.chown(file, 0, 4)
        assert f"{file} (root:adm -rw-r-----); as root, run `usermod -aG adm nobody`, or `setfacl" in as_nobody(file)
        file.chmod(0o600)
        assert "usermod" not in as_nobody(file)

    def test_a_folder_on_the_way_is_named(self, open_folder: Path) -> None:
        closed = open_folder / "closed"
        (closed / "deep").mkdir(parents=True)
        (closed / "deep/x.log").touch()
        closed.chmod(0o700)
        for path in (closed / "deep/x.log", closed / "none", closed / "*.log"):
            problem = as_nobody(path)
            assert problem.startswith(f"{path}: user X may not search {closed} (root:root drwx------)")
            assert problem.endswith(f"`setfacl -m u:X:rx {closed}`")
        closed.chmod(0o711)
        assert as_nobody(closed / "deep/x.log") == "None"
        assert "may not search" in as_nobody(closed / "*.log")

    def test_owners_without_a_name_are_numbers(self, open_folder: Path) -> None:
        file = open_folder / "x.log"
        file.touch(0o600)
        os.chown(file, 54321, 54322)
        assert "(54321:54322 -rw-------)" in as_nobody(file)


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every user may enter; pytest's own are closed."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="dify-exporter-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
