"""A time zone that is missing in the configuration."""

from datetime import UTC, datetime

import pytest

from exporter.tail.time_zones import EventTimeCheck, ahead_of_the_clock, behind_the_clock, whole_offset
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.nginx import Nginx
from parsers.parser import Parser

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC).timestamp()
SECOND = 1_000_000_000
HOUR = 3600.0


def text(at: float, zone: str = "") -> bytes:
    written = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.000")
    return f"{written}{zone} INFO [Dummy-1] [x.py:1]  - x\n".encode()


def access(at: float) -> bytes:
    written = datetime.fromtimestamp(at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'10.1.1.1 - - [{written}] "GET /v1/info HTTP/1.1" 200 5 "-" "-" "-"\n'.encode()


def ahead(parser: Parser, log: bytes, seen: float = NOW) -> str:
    at = parser.parse(log).last_at
    assert at is not None
    return ahead_of_the_clock(parser, log, at, seen, NOW)


@pytest.mark.parametrize(
    ("offset", "name"),
    [(8, "Asia/Shanghai"), (9, "Asia/Tokyo"), (5.5, "Asia/Kolkata"), (1, "Europe/Berlin"), (-5, "America/New_York")],
)
def test_the_zone_is_proposed(offset: float, name: str) -> None:
    log = text(NOW + offset * HOUR - 2)
    if offset > 0:
        assert f'ahead of the clock: set timezone = "{name}"' in ahead(Dify(), log)
    else:
        at = Dify().parse(log).last_at
        warning = behind_the_clock(Dify(), log, at or 0, NOW)
        assert warning is not None
        assert f'5 hours before the moment at which its line was written: set timezone = "{name}"' in warning


def test_from_another_zone_and_in_an_envelope() -> None:
    assert 'set timezone = "UTC"' in ahead(Dify(timezone="America/New_York"), text(NOW))
    docker = b'{"log":"%s\\n","stream":"stdout"}\n' % text(NOW + 8 * HOUR).rstrip()
    assert 'set timezone = "Asia/Shanghai"' in ahead(Docker(parser=Dify()), docker)


def test_where_the_file_was_copied_the_zone_is_not_named() -> None:
    assert 'set timezone = "…" in its [[source]]' in ahead(Dify(), text(NOW + 7.6 * HOUR), seen=NOW - 1000)


def test_lines_with_a_zone_are_not_helped_by_one() -> None:
    log = access(NOW + 3 * HOUR)
    assert "the clock of one of the two machines is wrong" in ahead(Nginx(), log)
    at = Nginx().parse(access(NOW - 3 * HOUR)).last_at
    assert behind_the_clock(Nginx(), access(NOW - 3 * HOUR), at or 0, NOW) is None


@pytest.mark.parametrize(
    ("ahead_by", "offset"),
    [
        (0, None),
        (20, None),
        (8 * HOUR, 28800),
        (8 * HOUR - 20, 28800),
        (-5.75 * HOUR, -20700),
        (400, None),
        (20 * HOUR, None),
    ],
)
def test_an_offset_is_whole_quarters(ahead_by: float, offset: int | None) -> None:
    assert whole_offset(round((NOW + ahead_by) * SECOND), NOW) == offset


class TestEventTimes:
    @pytest.fixture(autouse=True)
    def begin(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now, self.log = NOW, caplog
        self.times = EventTimeCheck("worker", Dify(), lambda: self.now)

    @property
    def warnings(self) -> list[str]:
        return self.log.messages

    def look(self, log: bytes, live: bool = True) -> None:
        self.times.look(log, Dify().parse(log).last_at, live)

    def test_a_time_ahead_is_said_once_and_at_once(self) -> None:
        for _ in range(3):
            self.look(text(self.now + 8 * HOUR), live=False)
        assert len(self.warnings) == 1
        assert 'timezone = "Asia/Shanghai"' in self.warnings[0]

    def test_a_time_behind_is_said_after_a_minute_of_live_lines(self) -> None:
        for number in range(5):
            self.look(text(self.now - 5 * HOUR))
            assert len(self.warnings) == int(number >= 2)
            self.now += 20
        assert 'timezone = "America/New_York"' in self.warnings[0]

    def test_history_and_a_backlog_are_no_fault(self) -> None:
        for number in range(20):
            self.look(text(NOW - 5 * HOUR), live=False)
            self.look(text(NOW - 5 * HOUR + number), live=True)
            self.now += 100
        assert self.warnings == []

    def test_clocks_may_differ_a_little(self) -> None:
        for _ in range(5):
            self.look(text(self.now + 60))
            self.now += 20
        assert self.warnings == []
