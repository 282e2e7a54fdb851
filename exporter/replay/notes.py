"""What a replay prints besides its figures: skipped inputs, missing data, event times, examples of unparsed lines.

Advice is given once, when all logs are read: what one log lacks, another one may contain.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from exporter.replay.errors import InputError, parse_whole
from exporter.replay.event_times import EventTimes
from exporter.replay.inputs import SAMPLE_BYTES, last_lines
from exporter.replay.jobs import Listener, Opened
from exporter.tail.time_zones import AHEAD, ahead_of_the_clock
from parsers.advice import Advice, merged, record_types
from parsers.batch import Batch
from parsers.parser import advice_of
from parsers.values.numbers import SECOND


class Notes(Listener):
    """Collects the notes of one replay. `say` prints a sentence at once. `inputs` is the number of inputs."""

    def __init__(self, say: Callable[[str], None], inputs: int) -> None:
        super().__init__(say)
        self.times: dict[str, EventTimes] = {}
        #: One unparsed line per source and reason.
        self.examples: dict[tuple[str, str], bytes] = {}
        #: A sentence per input that cannot be read or that is not recognised.
        self.skipped: list[str] = []
        self.inputs = inputs
        self._advice: dict[tuple[str, Advice], None] = {}
        self._known = set[type]()

    @property
    def has_read(self) -> bool:
        """Whether an input was read, or nothing was wrong with any."""
        return bool(self.times) or not self.skipped

    def opened(self, log: Opened) -> None:
        times = self.times.get(log.source, EventTimes())
        times.begin(log.parser, log.sample)
        self.times[log.source] = times
        if log.detected is not None and log.batch.observed + log.batch.ignored:
            given = advice_of(log.parser, log.batch, log.sample)
            self._advice |= dict.fromkeys((str(log.detected), each) for each in given)
            self._known |= record_types(log.batch.records)
        newest, at = log.sample, log.batch.last_at
        if len(newest) >= SAMPLE_BYTES and os.path.isfile(log.file):
            with suppress(InputError):
                lines = last_lines(log.file)
                newest, at = lines, parse_whole(log.parser, lines).last_at
        now = time.time()
        if at is not None and at / SECOND - now > AHEAD:
            self.say(
                f"{log.file}: {ahead_of_the_clock(log.parser, newest, at, now, now)}; for a replay, write "
                "that source into a configuration and name it with --config"
            )

    def add(self, source: str, batch: Batch, counted: bool) -> None:
        self.times[source].add(batch)
        for reason, line in batch.examples.items() if counted else ():
            self.examples.setdefault((source, reason), line)

    def failed(self, error: InputError) -> None:
        self.skipped.append(str(error))
        if self.inputs > 1:
            self.say(f"skipped: {error}")

    def damaged(self, sentence: str) -> None:
        self.skipped.append(sentence)
        if self.inputs > 1:
            self.say(sentence)

    def absent(self) -> Iterator[str]:
        """What no log contains, with the kinds of log that could."""
        for sentence, kinds in merged(self._advice, self._known):
            yield f"{' and '.join(kinds)}: absent: {sentence}"
