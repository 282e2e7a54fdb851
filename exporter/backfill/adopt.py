"""Lets `serve` continue where a backfill ends: it writes the state that `serve` would have written there.

Operations: `open` before the files are read, `read` for each batch, `store` at the end.
Goals: each line of a log is counted once, by the backfill or by `serve`. Nothing is stored unless the whole backfill
has succeeded. The state folder is locked until then, so no `serve` can begin in between.

Rules: a file that may still grow is read up to its last whole record, and `serve` reads the rest. These are the log
itself and a file that was written to within the last hour. All other files of the log's folder are done, whether they
were named or not: `serve` never reads what was there before it. A file that was rotated or truncated while it was read
is an error, because then a part of it may have been left out.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from decimal import Decimal

from msgspec import Struct, structs

from exporter import catalogue as c
from exporter.ledger.budgets import SEEN
from exporter.ledger.state import State
from exporter.persistence.checkpoint import Checkpoint
from exporter.tail.fingerprint import position_at, start_of
from exporter.tail.generation import FileState
from exporter.tail.globs import Globs
from exporter.tail.open_file import OpenFile, identity_of, open_log
from exporter.tail.position import FINGERPRINT, Position
from exporter.tail.rotated_names import originals, rotated_names
from exporter.tail.search import Search
from exporter.tail.search_folders import SearchFolders
from exporter.tail.source_config import SourceConfig
from exporter.tail.source_context import SourceContext
from exporter.tail.table import GenerationTable
from parsers.batch import Batch


class Owner(Struct, frozen=True):
    """A source, and the path of its log. The file at this path is the log itself, any other file a rotated one."""

    source: SourceConfig
    log: str


class Owners:
    """The owners of the files that exist now."""

    def __init__(self, sources: Iterable[SourceConfig]) -> None:
        self._by_path: dict[str, Owner] = {}
        self._globs: list[tuple[SourceConfig, Globs]] = []
        for source in sources:
            context = SourceContext(source, time.monotonic)
            globs = Globs(source.paths, source.log_patterns, context.folders)
            self._globs.append((source, globs))
            for log in sorted(globs.paths()):
                rotated = SearchFolders(log, context).candidates(0)
                for path in (log, *(os.path.abspath(each.path) for each in rotated)):
                    self._by_path.setdefault(path, Owner(source, log))

    def of(self, file: str) -> Owner | None:
        """The owner of a file beside its log, or in a folder that `log_patterns` names."""
        path = os.path.abspath(file)
        if path in self._by_path:
            return self._by_path[path]
        for source, globs in self._globs:  # the log itself may not exist
            for log in originals(path, source.log_patterns):
                if globs.covers(log):
                    return Owner(source, log)
        return None

    def named_like(self, file: str) -> list[Owner]:
        """The owners of logs in any folder that have the name of the file, or a name from which it was rotated."""
        name = os.path.basename(file)
        return [
            owner
            for path, owner in self.logs.items()
            if name.removesuffix(".gz") == os.path.basename(path) or rotated_names(os.path.basename(path), [name])
        ]

    @property
    def logs(self) -> dict[str, Owner]:
        """The owners of the logs that exist, and of those without a glob, by path."""
        return {path: owner for path, owner in self._by_path.items() if path == owner.log}


#: A rotated file may still grow for so many seconds: a program writes to it until it opens the new one.
_MAY_GROW = 3600.0


_Spent = Mapping[tuple[int, str], int | Decimal | None]


class AdoptError(Exception):
    """`serve` cannot go on from this backfill. The message is one sentence: why, and what to do."""


class _Followed(Struct):
    """A file that may still grow: the open file, its beginning, how far it was read, and the last batch."""

    owner: Owner
    file: OpenFile
    begin: bytes
    offset: int = 0
    last: Batch = Batch()

    def position(self) -> Position:
        found = self.file.stat()
        position = position_at(self.file, start_of(self.file), self.offset)
        return structs.replace(
            position,
            size=found.st_size,
            modified=found.st_mtime_ns,
            skip=position.skip if self.last.lines else "",  # a byte order mark, or the NULs of a hole, are no line
            skip_streams=self.last.skip,
        )


class Adoption:
    """The files of a backfill, and the state that `serve` goes on from."""

    def __init__(self, owners: Mapping[str, Owner], known: Owners, checkpoint: Checkpoint) -> None:
        """`owners` are those of all files that are read. The checkpoint stays open. Raises AdoptError, OSError."""
        self._checkpoint, self._stored = checkpoint, State()
        self._stack = ExitStack()
        self._followed: dict[str, _Followed] = {}
        self._owners = [*owners.values()]
        self._sources = {owner.source.name: owner.source for owner in self._owners}
        self._identities = {file: identity_of(os.stat(file)) for file in owners if os.path.isfile(file)}
        named = {os.path.abspath(file) for file in owners}
        for log, owner in known.logs.items():
            if owner.source.name in self._sources and os.path.isfile(log) and log not in named:
                raise AdoptError(
                    f'source "{owner.source.name}": its log {log} is not among the files: name it too, so that `serve` '
                    "goes on where the backfill ends"
                )
        for file, owner in owners.items():
            if file in self._identities and self._may_grow(file, owner):
                opened = open_log(file)
                self._stack.callback(opened.close)
                self._followed[file] = _Followed(owner, opened, opened.read(0, FINGERPRINT))

    def close(self) -> None:
        self._stack.close()

    def restore(self, say: Callable[[str], None]) -> None:
        """Read the state that is there. Raises AdoptError if it knows one of the sources, PermissionError."""
        state, warnings = self._checkpoint.load()
        for warning in warnings:
            say(f"state: {warning}")
        if state is None:
            return
        self._stored = state
        known = {*state.positions, *state.last_at} & {*self._sources}
        if known:
            raise AdoptError(
                f"the state in {self._checkpoint.folder} knows source {min(known)} already: `serve` goes on from "
                "there; to begin anew, stop it and remove this folder"
            )

    def may_grow(self, file: str) -> bool:
        """Whether an unfinished record at the end of the file is left to `serve`."""
        return file in self._followed

    def read(self, file: str, batch: Batch) -> None:
        if (followed := self._followed.get(file)) is not None and batch.consumed:
            followed.offset += batch.consumed
            followed.last = batch

    def store(self, state: State, step: int) -> None:
        """Store the whole state of the backfill, durably. `step` is the length of a step in seconds.

        A series was created one step before its first sample. Raises AdoptError, OSError.
        """
        self._check_unmoved()
        known = [at for each in state.created.values() for at in each.values() if at]  # 0 is before the first time
        created = {
            name: {labels: (at or min(known, default=step)) - step for labels, at in each.items()}
            for name, each in state.created.items()
        }
        positions = {name: dict(self._positions(source)) for name, source in self._sources.items()}
        adopted = structs.replace(state, created=created, positions=positions)
        if self._stored.schemas and self._stored.schemas != state.schemas:
            raise AdoptError(
                f"the state in {self._checkpoint.folder} has other metrics or buckets: start `serve` once with this "
                "configuration, stop it, and run the command again"
            )
        self._stored.update(_added(self._stored, adopted))
        self._checkpoint.save(self._stored)

    def _may_grow(self, file: str, owner: Owner) -> bool:
        if file.endswith(".gz"):
            return False
        is_recent = os.stat(file).st_mtime > time.time() - _MAY_GROW
        return os.path.abspath(file) == owner.log or (is_recent and _folder(file) == _folder(owner.log))

    def _check_unmoved(self) -> None:
        for file, identity in self._identities.items():
            try:
                is_same = identity_of(os.stat(file)) == identity
            except FileNotFoundError:
                is_same = False
            if not is_same:
                raise AdoptError(f"{file}: was rotated while the logs were read: run the command again")
        for file, each in self._followed.items():
            if each.file.size() < each.offset or each.file.read(0, len(each.begin)) != each.begin:
                raise AdoptError(f"{file}: was truncated while the logs were read: run the command again")

    def _positions(self, source: SourceConfig) -> Iterator[tuple[str, Position]]:
        """The positions of a source by key: of its logs, and of all files that have rotated names now."""
        shared = SourceContext(source, time.monotonic)
        for log in dict.fromkeys(owner.log for owner in self._owners if owner.source is source):
            table = GenerationTable(log, shared)
            for position in self._end_positions(table):
                generation = table.new(position, FileState.DONE)
                yield generation.key, generation.position

    def _end_positions(self, table: GenerationTable) -> Iterator[Position]:
        log = table.path
        growing = {
            file: structs.replace(each.position(), target=table.target() if os.path.abspath(file) == log else "")
            for file, each in self._followed.items()
            if each.owner.log == log
        }
        known = {position.identity for position in growing.values()}
        for position in Search(table).preexisting(0, max((p.modified for p in growing.values()), default=0)):
            if position.identity not in known:
                yield structs.replace(position, done=True)
        yield from growing.values()


def _added(stored: State, adopted: State) -> State:
    """The adopted state, with the sums of what both states count without naming a source."""
    spent = {budget: _spent(stored.spent.get(budget, {}), amounts) for budget, amounts in adopted.spent.items()}
    name = c.FOLDED_OBSERVATIONS.name
    before = stored.counters.get(name, {})
    folded = {labels: count + before.get(labels, 0) for labels, count in adopted.counters.get(name, {}).items()}
    return structs.replace(adopted, spent=spent, counters={**adopted.counters, name: folded})


def _spent(before: _Spent, more: _Spent) -> dict[tuple[int, str], int | Decimal | None]:
    """What two states have spent of a budget, and the earlier one of the times from which on it was seen."""
    sums = dict(before)
    for key, amount in more.items():
        known = sums.get(key)
        if known is None or amount is None:
            sums[key] = amount
        else:
            sums[key] = min(amount, known) if key[1] == SEEN else amount + known
    return sums


def _folder(file: str) -> str:
    return os.path.dirname(os.path.abspath(file))
