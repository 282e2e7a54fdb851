"""nginx's own log_format is derived from the lines of a log: JSON with any keys, and a virtual host in front."""

import json
import tomllib

import pytest

from exporter.replay.detect import Guess, detect, guesses
from exporter.replay.log_formats import derived
from parsers.batch import Batch, Request
from parsers.nginx import Nginx
from tests.golden import ROOT, config

SAMPLES = ROOT / "samples"


def detected(log: bytes) -> tuple[Guess, Batch]:
    found = detect(log, guesses())
    assert found is not None
    return found


def counted(batch: Batch) -> dict[tuple[str, str, str], int]:
    counts: dict[tuple[str, str, str], int] = {}
    for record in batch.records:
        assert isinstance(record, Request)
        key = record.method, record.route, record.status_code
        counts[key] = counts.get(key, 0) + record.count
    return counts


def test_a_json_log_of_nginx_gives_what_its_own_format_gives() -> None:
    log = (SAMPLES / "nginx-json.log").read_bytes()
    guess, batch = detected(log)
    (source,) = (source for source in config().sources if source.name == "nginx-json")
    assert batch == source.parser.parse(log, final=True)
    assert guess.name == "nginx"


def test_what_is_said_is_a_configuration_and_holds_no_value_of_a_line() -> None:
    guess, _ = detected((SAMPLES / "nginx-json.log").read_bytes())
    table = tomllib.loads(str(guess).replace(", format", "\nformat"))
    assert Nginx(format=table["format"]).format == guess.options["format"]
    assert "CANARY" not in str(guess)
    assert "2026" not in str(guess)


@pytest.mark.parametrize(
    "line",
    [
        '{"@timestamp": "2026-11-24T11:11:42+00:00", "http": {"method": "GET", "uri": "/v1/info?x=1"}, "status": "200", "bytes": 7}',
        '{"msec":1795518702.123,"request":"GET /v1/info","status_code":200,"ok":true,"up":,"rt":0.100}',
        '{"remote_addr":"10.0.0.1","time_local":"24/Nov/2026:11:11:42 +0000","request_method":"GET","request_uri":"/v1/info","status":200,"status_text":"OK"}',
        '{"a b":"x","user-agent":"say \\"hi\\"","path":"/v1/info","Method":"GET","responseCode":200,"time":"2026-11-24T11:11:42.123Z"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("banner", ["", "/docker-entrypoint.sh: Configuration complete; ready for start up\n"])
def test_the_usual_keys_are_known(line: str, banner: str) -> None:
    other = line.replace("GET", "POST").replace("200", "504")
    _, batch = detected(f"{banner}{line}\n{other}\n".encode())
    assert counted(batch) == {("GET", "/v1/info", "200"): 1, ("POST", "/v1/info", "504"): 1}
    assert batch.last_at is not None
    assert batch.unparsed == {}


@pytest.mark.parametrize("envelope", ["docker", "cri", "compose", "syslog"])
def test_an_envelope_around_it_is_found(envelope: str) -> None:
    wrap = {
        "docker": lambda line: json.dumps({"log": line + "\n"}),
        "cri": lambda line: "2026-11-23T08:53:08Z stdout F " + line,
        "compose": lambda line: "nginx-1  | " + line,
        "syslog": lambda line: "Nov 24 11:11:42 web1 nginx[7]: " + line,
    }[envelope]
    lines = (SAMPLES / "nginx-json.log").read_text(errors="replace").removesuffix("\n").split("\n")
    guess, batch = detected("".join(wrap(line) + "\n" for line in lines).encode())
    assert (guess.name, guess.envelope, batch.observed) == ("nginx", envelope, 41)


@pytest.mark.parametrize(
    "line",
    [
        '{"level":"info","status":200}',
        '{"path":"/v1/info","level":"info"}',
        '{"it\'s":1,"path":"/v1/info","status":200}',
        '{"$x":{},"path":"/v1/info","status":200}',
        '{"path":"/v1/info","status":"ok"}',
    ],
)
def test_json_that_tells_no_requests_is_no_log_of_nginx(line: str) -> None:
    assert list(derived([line])) == []


@pytest.mark.parametrize("host", ["dify.example.org", "dify.example.org:443", "[::1]:8080", "_"])
@pytest.mark.parametrize("name", ["nginx-dify", "nginx-dify-timed", "nginx-combined"])
def test_a_host_in_front_is_nginx_and_not_gunicorn(host: str, name: str) -> None:
    log = (SAMPLES / f"{name}.log").read_bytes()
    behind = b"".join(host.encode() + b" " + line for line in log.splitlines(True))
    guess, batch = detected(behind)
    assert guess.name == "nginx"
    assert counted(batch) == counted(detected(log)[1])


def test_gunicorns_own_log_stays_gunicorns() -> None:
    assert detected((SAMPLES / "gunicorn.log").read_bytes())[0].name == "gunicorn"


def test_a_named_format_is_not_replaced() -> None:
    log = b"dify.example.org " + (SAMPLES / "nginx-combined.log").read_bytes().splitlines(True)[0]
    assert detect(log, guesses("nginx", {"format": "combined"})) is None
    assert detect(log, guesses("dify")) is None
    assert detect(log, guesses("nginx")) is not None
