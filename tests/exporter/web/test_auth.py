"""Passwords: right, wrong, too long, guessed in large numbers, and what a guess reveals."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from statistics import median
from time import process_time

import bcrypt
import pytest

from exporter.config.web import WebConfig
from exporter.web.auth import Authenticator, BusyError
from tests.exporter.web.endpoint import Client, listening

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()


def basic(user: str, password: str | bytes) -> bytes:
    secret = password if isinstance(password, bytes) else password.encode()
    return b"Basic " + b64encode(user.encode() + b":" + secret)


def ask(authenticator: Authenticator, *headers: bytes, peer: str = "1.2.3.4") -> list[bool]:
    async def all_of_them() -> list[bool]:
        return [await authenticator.allows(header, peer) for header in headers]

    return asyncio.run(all_of_them())


@pytest.fixture
def authenticator():
    made = Authenticator({"prometheus": HASH, "older": HASH.replace("$2b$", "$2y$")})
    yield made
    made.close()


def test_right_and_wrong(authenticator: Authenticator) -> None:
    good = [basic("prometheus", "right"), basic("older", "right"), b"basic " + basic("older", "right")[6:]]
    bad = [
        b"", b"Basic", b"Basic !", b"Bearer x", b"Basic " + b64encode(b"no colon"), basic("prometheus", ""),
        basic("prometheus", "wrong"), basic("nobody", "right"), basic("", "right"), basic("prometheus", b"right\0"),
        basic("prometheus", b"\xff\xfe"),
    ]  # fmt: skip
    assert ask(authenticator, *good) == [True] * 3
    assert ask(authenticator, *bad, *bad) == [False] * 22


def test_a_password_over_72_bytes_is_wrong_even_if_its_beginning_is_right() -> None:
    longest = "x" * 72
    authenticator = Authenticator({"u": bcrypt.hashpw(longest.encode(), bcrypt.gensalt(4)).decode()})
    assert ask(authenticator, basic("u", longest), basic("u", longest + "y")) == [True, False]
    authenticator.close()


def test_results_are_cached_and_guesses_evict_no_right_password(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []
    check = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda *given: checks.append(given) or check(*given))
    assert ask(authenticator, basic("older", "right"))[0]
    ask(authenticator, *[basic("older", str(number)) for number in range(150)])
    assert len(checks) == 151
    assert ask(authenticator, basic("older", "right"), basic("older", "149")) == [True, False]
    assert len(checks) == 151
    assert ask(authenticator, basic("older", "0")) == [False]
    assert len(checks) == 152, "only the newest guesses are remembered"


def test_an_unknown_user_takes_as_long_as_a_known_one() -> None:
    authenticator = Authenticator({"known": bcrypt.hashpw(b"right", bcrypt.gensalt(7)).decode()})

    def seconds(user: str, number: int) -> float:
        begun = process_time()
        assert ask(authenticator, basic(user, f"{user}{number}")) == [False]
        return process_time() - begun

    known, unknown = ([seconds(user, n) for n in range(15)] for user in ("known", "unknown"))
    authenticator.close()
    assert 0.4 < median(known) / median(unknown) < 2.5


def test_many_guesses_are_refused_and_another_client_is_served(authenticator: Authenticator) -> None:
    async def crowd(allow: Callable[[bytes, str], Awaitable[bool]]) -> tuple[list[object], bool]:
        guesses = [asyncio.create_task(allow(basic("older", str(n)), "6.6.6.6")) for n in range(500)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        right = await allow(basic("prometheus", "right"), "1.2.3.4")
        return await asyncio.gather(*guesses, return_exceptions=True), right

    answers, right = asyncio.run(crowd(authenticator.allows))
    assert right
    assert sum(isinstance(each, BusyError) for each in answers) >= 500 - 2
    assert ask(authenticator, basic("older", "500"), peer="6.6.6.6") == [False], "it may ask again"


def test_equal_credentials_share_one_check(authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []
    check = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda *given: checks.append(given) or check(*given))

    async def scrapers() -> list[bool]:
        return list(
            await asyncio.gather(*(authenticator.allows(basic("older", "right"), "1.2.3.4") for _ in range(20)))
        )

    assert asyncio.run(scrapers()) == [True] * 20
    assert len(checks) == 1
    assert not authenticator._checks


def test_a_reload_keeps_the_cache_of_unchanged_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []
    check = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda *given: checks.append(given) or check(*given))
    config = WebConfig(users={"prometheus": HASH})
    with listening(config=config) as listener:
        client = Client(listener)
        for expected in (1, 1, 1):
            assert client.get("/metrics", Authorization=basic("prometheus", "right").decode())[0] == 200
            assert len(checks) == expected
            listener.configure(WebConfig(users={"prometheus": HASH}))
        listener.configure(WebConfig(users={"prometheus": bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode()}))
        assert client.get("/metrics", Authorization=basic("prometheus", "right").decode())[0] == 401


def test_over_http() -> None:
    with listening(config=WebConfig(users={"prometheus": HASH})) as listener:
        client = Client(listener)
        status, headers, body = client.get("/metrics")
        assert (status, headers["www-authenticate"], body) == (401, 'Basic realm="dify-exporter"', b"Unauthorized.\n")
        assert client.get("/nothing")[0] == 401
        assert client.get("/-/healthy")[0] == 401
        assert client.get("/metrics", Authorization=basic("prometheus", "wrong").decode())[0] == 401
        assert client.get("/metrics", Authorization=basic("prometheus", "right").decode())[0] == 200
