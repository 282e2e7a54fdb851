"""TLS: versions, silent clients, client certificates, and a certificate that is renewed under load."""

import gc
import logging
import os
import socket
import ssl
import threading
from asyncio import sslproto
from pathlib import Path

import pytest
import trustme

from exporter.config.web import TlsConfig, WebConfig
from exporter.web import connection
from tests.exporter.web.endpoint import Client, listening, received
from tests.system.programs import until


class Issuer:
    """Writes certificate and key into a folder, as certbot and cert-manager renew them: by rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        self.issue()

    def issue(self) -> None:
        certificate = self.authority.issue_cert("localhost")
        self.put("cert.pem", b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        self.put("key.pem", certificate.private_key_pem.bytes())

    def put(self, name: str, content: bytes) -> None:
        (self.folder / "new").write_bytes(content)
        os.replace(self.folder / "new", self.folder / name)

    def tls(self, **more: object) -> TlsConfig:
        return TlsConfig(str(self.folder / "cert.pem"), str(self.folder / "key.pem"), **more)  # type: ignore[arg-type]

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


def test_pages_over_tls(issuer: Issuer) -> None:
    with listening(config=WebConfig(tls=issuer.tls())) as listener:
        assert listener.url.startswith("https://127.0.0.1:")
        assert Client(listener, issuer.client()).get("/metrics")[0] == 200
        plain = Client(listener).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP" not in plain


def test_nothing_older_than_tls_1_2(issuer: Issuer) -> None:
    old = issuer.client()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with listening(config=WebConfig(tls=issuer.tls())) as listener:
        with pytest.raises(ssl.SSLError):
            Client(listener, old).get("/metrics")
        newer = issuer.client()
        newer.maximum_version = ssl.TLSVersion.TLSv1_2
        assert Client(listener, newer).get("/metrics")[0] == 200


def test_half_a_handshake_delays_no_other_client_and_times_out(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 1.0)
    with listening(config=WebConfig(tls=issuer.tls())) as listener:
        client = Client(listener, issuer.client())
        halves = [socket.create_connection(client.address, timeout=10) for _ in range(50)]
        for each in halves[::2]:
            each.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert client.get("/metrics")[0] == 200
        assert {received(each) for each in halves} == {b""}
        for each in halves:
            each.close()


def test_a_handshake_that_failed_leaves_nothing_to_the_garbage_collector(issuer: Issuer) -> None:
    """Otherwise many of them hold hundreds of megabytes until it runs."""

    def left() -> int:
        return sum(isinstance(each, sslproto.SSLProtocol) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        with listening(config=WebConfig(tls=issuer.tls())) as listener:
            client = Client(listener, issuer.client())
            for sent in (b"\x16\x03\x01\x02\x00\x01", b"", b"GET / HTTP/1.1\r\n\r\n") * 5:
                with socket.create_connection(client.address, timeout=10) as half:
                    half.sendall(sent)
            assert client.get("/metrics")[0] == 200
            until("every connection to be freed", lambda: not left())
    finally:
        gc.enable()


def test_a_response_that_ends_the_connection_is_followed_by_its_close(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads until the close, as with HTTP/1.0, need not wait for a timeout."""
    monkeypatch.setattr(connection, "_LINGER_SECONDS", 3600.0)
    with listening(config=WebConfig(tls=issuer.tls())) as listener:
        for request in (b"GET /-/healthy HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n"):
            assert Client(listener, issuer.client()).send(request).startswith(b"HTTP/1.1 200 ")


def test_client_certificates(issuer: Issuer) -> None:
    tls = issuer.tls(
        client_auth_type="RequireAndVerifyClientCert",
        client_ca_file=str(issuer.folder / "ca.pem"),
        client_allowed_sans=("prometheus.internal",),
    )
    with listening(config=WebConfig(tls=tls)) as listener:
        named, other, stranger = issuer.client(), issuer.client(), issuer.client()
        issuer.authority.issue_cert("prometheus.internal").configure_cert(named)
        issuer.authority.issue_cert("other.internal").configure_cert(other)
        trustme.CA().issue_cert("prometheus.internal").configure_cert(stranger)
        assert Client(listener, named).get("/metrics")[0] == 200
        for context in (issuer.client(), other, stranger):
            with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
                Client(listener, context).get("/metrics")


def test_a_renewed_certificate_is_used_and_no_scrape_fails(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen: set[bytes] = set()
    failures: list[Exception] = []
    done = threading.Event()
    with listening(config=WebConfig(tls=issuer.tls())) as listener:

        def scrape() -> None:
            client = Client(listener, issuer.client())
            while not done.is_set():
                try:
                    with client.connect() as connection_:
                        assert isinstance(connection_, ssl.SSLSocket)
                        seen.add(connection_.getpeercert(binary_form=True) or b"")
                        connection_.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                        assert received(connection_).startswith(b"HTTP/1.1 200")
                except Exception as error:
                    failures.append(error)

        scrapers = [threading.Thread(target=scrape) for _ in range(2)]
        for each in scrapers:
            each.start()
        for number in range(6):
            before = len(seen)
            if number:
                issuer.issue()
            for _ in range(1000):
                if len(seen) > before or failures:
                    break
                done.wait(0.01)
        issuer.put("key.pem", b"nonsense")
        assert Client(listener, issuer.client()).get("/metrics")[0] == 200
        done.set()
        for each in scrapers:
            each.join()
    assert failures == []
    assert len(seen) >= 6
    assert "the changed certificate is not used" in caplog.text
    assert "the changed certificate is in use" in caplog.text


def test_an_encrypted_key_does_not_prompt_for_a_password(issuer: Issuer) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key((issuer.folder / "key.pem").read_bytes(), None)
    secret = pem.BestAvailableEncryption(b"secret")
    issuer.put("key.pem", key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.TraditionalOpenSSL, secret))
    with (
        pytest.raises(ValueError, match="are not a certificate and its key"),
        listening(config=WebConfig(tls=issuer.tls())),
    ):
        pass
