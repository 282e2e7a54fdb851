"""Measures the receiver on one core: the spans of ENABLE_OTEL, nearly all of them noise, beside single spans of a
provider, as a real Dify sent them, with fresh ids.

    python -m benchmarks.receive --seconds 20 --noise 5000 --real 50
"""

import argparse
import http.client
import os
import re
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.real_dify.trace_requests import TraceRequest, requests
from tests.system.proxy import resident
from tests.system.receiver import Receiver, facts, items, receiving

_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SPANS = 512  # in each of the first requests, which are as large as Dify's client makes them
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Sender(threading.Thread):
    """Sends so many requests per second on one connection. `times` are the seconds until each answer."""

    def __init__(self, address: tuple[str, int], bodies: Sequence[TraceRequest], rate: float, seconds: float) -> None:
        super().__init__()
        self.times: list[float] = []
        self._address, self._bodies, self._rate, self._seconds = address, bodies, rate, seconds

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        begun = time.monotonic()
        while (now := time.monotonic() - begun) < self._seconds:
            if len(self.times) >= now * self._rate:
                time.sleep(0.001)
                continue
            request = self._bodies[len(self.times) % len(self._bodies)]
            body = _fresh(request.body)
            asked = time.monotonic()
            connection.request("POST", request.path, body, {"Content-Type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            self.times.append(time.monotonic() - asked)
        connection.close()


def _fresh(body: bytes) -> bytes:
    new: dict[bytes, bytes] = {}
    return _ID.sub(lambda found: new.setdefault(found[0], str(uuid.uuid4()).encode()), body)


def _processor_seconds(receiver: Receiver) -> float:
    fields = Path(f"/proc/{receiver.worker}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.receive", description=__doc__)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--noise", type=int, default=5000, help="spans of ENABLE_OTEL per second")
    arguments.add_argument("--real", type=int, default=50, help="spans of a provider per second")
    given = arguments.parse_args()
    noise = [request for request in requests("native") if len(request.body) > 200_000]
    command = ("taskset", "--cpu-list", "0")
    with TemporaryDirectory() as name, receiving(Path(name), "native = true\n", command=command) as receiver:
        senders = {
            f"{_SPANS} spans of ENABLE_OTEL": Sender(receiver.address, noise, given.noise / _SPANS, given.seconds),
            "one span of a provider": Sender(receiver.address, requests("phoenix"), given.real, given.seconds),
        }
        before = _processor_seconds(receiver)
        for sender in senders.values():
            sender.start()
        for sender in senders.values():
            sender.join()
        used = _processor_seconds(receiver) - before
        for what, sender in senders.items():
            times = sorted(sender.times)
            middle, high = times[len(times) // 2], times[int(len(times) * 0.99)]
            print(
                f"{what:<28} {len(times) / given.seconds:7.1f} requests/s, "
                f"median {middle * 1000:.1f} ms, p99 {high * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms"
            )
        print(f"processor of the worker      {used / given.seconds:7.1%} of one core")
        print(f"memory of both processes     {resident(receiver) / 1024:7.1f} MB")
        written = len(facts(receiver.log))
        receiver.process.stop()
        print(f"items {sum(items(receiver.log).values()):,}, lines {written:,}")


if __name__ == "__main__":
    main()
