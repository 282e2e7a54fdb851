"""Explains in one sentence why a log cannot be read, and what to do."""

import grp
import os
import pwd
import stat
import zlib
from collections.abc import Callable, Sequence
from glob import has_magic
from pathlib import Path
from typing import Any

from exporter.process.special_files import KINDS

_REFUSED = {
    "a folder": "name the files in it, with a * if need be",
    "a FIFO": "a regular file keeps its lines until they are counted; `dify-exporter replay -` reads a stream once",
}

#: File systems whose files the kernel generates while they are read.
_OF_KERNEL = {"proc", "sysfs", "debugfs", "tracefs", "securityfs", "cgroup", "cgroup2", "configfs"}

_GZIP = b"\x1f\x8b"
#: The first gzip member of a log that nginx packs ends within so many bytes: nginx packs buffers of 64 KiB.
_LOOK = 1 << 18
_MOST_UNPACKED = 1 << 24


def is_gzip(head: bytes) -> bool:
    return head.startswith(_GZIP)


def is_packed(path: str, descriptor: int) -> bool:
    """Return whether nginx packs the open log (`access_log … gzip`). Raise OSError.

    nginx writes each buffer as a separate gzip member. A packed archive has one member, and its name ends in `.gz`.
    """
    head = os.pread(descriptor, _LOOK, 0)
    if not is_gzip(head) or not path.endswith(".gz"):
        return is_gzip(head)
    member = zlib.decompressobj(wbits=31)
    try:
        member.decompress(head, _MOST_UNPACKED)
    except zlib.error:
        return False
    return member.eof and is_gzip(member.unused_data)


def file_problem(path: Path) -> str | None:
    """Return why the path is no regular file that this user may read, None if it is. The path need not exist."""
    if (forbidden := _forbidden_folder(path)) is not None:
        return _permission_problem(forbidden, path)
    try:
        found = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG and not found.st_size and _is_of_kernel(found.st_dev):
        return f"{path}: is a file of the kernel, expected a log file; reading it may block forever"
    if kind != stat.S_IFREG:
        what = KINDS.get(kind, "no file")
        return f"{path}: is {what}, expected a log file; {_REFUSED.get(what, 'only regular files are read')}"
    return None if os.access(path, os.R_OK) else _permission_problem(path, path)


def log_problem(path: Path) -> str | None:
    """Return why the log cannot be tailed: as `file_problem`, or because nginx packs it."""
    if (problem := file_problem(path)) is not None:
        return problem
    try:
        with path.open("rb") as file:
            if not is_packed(str(path), file.fileno()):
                return None
    except OSError as error:
        return f"{path}: {error.strerror}"
    return (
        f"{path}: nginx packs this log, so it cannot be tailed: remove gzip from its access_log; "
        f"`dify-exporter replay {path}` reads what is packed already"
    )


def _is_of_kernel(device: int) -> bool:
    """Return whether a device is a file system of the kernel, such as /proc (proc(5), mountinfo)."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in mounts if line.split(" ")[2:3] == [wanted]}
    return not kinds.isdisjoint(_OF_KERNEL)


def _forbidden_folder(path: Path) -> Path | None:
    """Return the first folder of the path that this user may not enter, or may not list if the path is a glob."""
    for folder in reversed(path.absolute().parents):
        if not os.path.lexists(folder):
            return None
        listed = os.R_OK if folder == path.absolute().parent and has_magic(path.name) else 0
        if os.path.isdir(folder) and not os.access(folder, os.X_OK | listed):
            return folder
    return None


def _permission_problem(at: Path, wanted: Path) -> str:
    """Say which user may not read what, and the usual remedies: the group of the log (adm on Debian), or an ACL."""
    facts = at.stat()
    user, owner, group = _name(pwd.getpwuid, os.geteuid()), _name(pwd.getpwuid, facts.st_uid), facts.st_gid
    rights, bit = ("rx", stat.S_IXGRP) if at.is_dir() else ("r", stat.S_IRGRP)
    remedies = [f"`setfacl -m u:{user}:{rights} {at}`"]
    if facts.st_mode & bit and group != 0:  # but never the group root
        remedies.insert(0, f"`usermod -aG {_name(grp.getgrgid, group)} {user}`")
    if not at.is_dir():
        remedies[-1] += f" and, for the file after the next rotation, `setfacl -d -m u:{user}:r {at.parent}`"
    return (
        f"{wanted}: user {user} may not {'search' if at.is_dir() else 'read'} {at} "
        f"({owner}:{_name(grp.getgrgid, group)} {stat.filemode(facts.st_mode)}); as root, run {', or '.join(remedies)}"
    )


def _name(look_up: Callable[[int], Sequence[Any]], number: int) -> str:
    """Return the name of a user or group, or the number if it has no name, as often in a container."""
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
