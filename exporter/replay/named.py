"""The log files that a command line names: globs are expanded, and a copy of another file is left out."""

import os
from collections.abc import Callable, Iterable
from glob import glob, has_magic

from exporter.messages import address
from exporter.replay import remote
from exporter.replay.errors import InputError
from exporter.replay.inputs import filled, open_input

_BLOCK = 1 << 20


def _raise(error: InputError) -> None:
    raise error


def named_files(
    names: Iterable[str], say: Callable[[str], None], failed: Callable[[InputError], None] = _raise
) -> list[str]:
    """The files and addresses to read; a pattern matches no folder. `say` is called for each copy, whose lines would
    count twice.

    `failed` is called for a pattern that matches no address, and, of several files, for each one that cannot be read:
    some clients try for half a minute to reach a server that is gone, so it is asked once.
    """
    files: list[str] = []
    for name in names:
        if remote.is_remote(name):
            try:
                files += remote.expanded(name)
            except InputError as error:
                failed(error)
        elif not os.path.exists(name) and has_magic(name):
            files += sorted(each for each in glob(name, recursive=True) if not os.path.isdir(each)) or [name]
        else:
            files.append(name)
    return _without_copies(list(dict.fromkeys(files)), say, failed)


def _without_copies(files: list[str], say: Callable[[str], None], failed: Callable[[InputError], None]) -> list[str]:
    """A file is a copy if all of its bytes, unpacked, are the beginning of another file."""
    if len(files) < 2:
        return files
    kept: list[tuple[str, bytes]] = []
    for file in files:
        try:
            sample = _sample(file)
        except InputError as error:
            failed(error)
            continue
        for number, (other, begin) in enumerate(kept):
            length = min(len(sample), len(begin))
            if not length or sample[:length] != begin[:length]:
                continue
            copy = _copy_of(file, other)
            if copy == file:
                say(f"{address(file)}: is a copy of {address(other)} and is counted once")
                break
            if copy == other:
                say(f"{address(other)}: is a copy of {address(file)}, or of its beginning, and is counted once")
                kept[number] = file, sample
                break
        else:
            kept.append((file, sample))
    return [file for file, _ in kept]


def _sample(file: str) -> bytes:
    """The beginning of a file; nothing for a pipe, which can be read only once. Raises InputError."""
    if not remote.is_remote(file) and (not os.path.isfile(file) or file.startswith(("/dev/", "/proc/"))):
        return b""
    with open_input(file, on_damage=lambda _: None) as log:
        return log.sample


def _copy_of(file: str, other: str) -> str:
    """The file that is the beginning of the other one, or equal to it; "" if they differ.

    Of two equal ones it is the address, because `serve` can continue only in a file of this machine.
    """
    with open_input(file, on_damage=lambda _: None) as one, open_input(other, on_damage=lambda _: None) as two:
        while True:
            blocks = filled(one.read, _BLOCK), filled(two.read, _BLOCK)
            length = min(map(len, blocks))
            if blocks[0][:length] != blocks[1][:length]:
                return ""
            if len(blocks[0]) != len(blocks[1]):
                return file if len(blocks[0]) < len(blocks[1]) else other
            if not length:
                return other if remote.is_remote(other) and not remote.is_remote(file) else file
