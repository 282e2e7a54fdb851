"""The file that web_config names: its values, and one sentence for each problem."""

from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.loader import ConfigError, load
from exporter.config.toml_table import Problems
from exporter.config.web import WebConfig, convert_web_config

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"


def loaded(folder: Path, text: str) -> WebConfig:
    (folder / "exporter.toml").write_text('[exporter]\nweb_config = "web.toml"\n')
    (folder / "web.toml").write_text(text)
    return load(folder / "exporter.toml").web


@pytest.fixture
def files(tmp_path: Path) -> Path:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


def test_everything_at_once(files: Path) -> None:
    web = loaded(
        files,
        f"""
        [tls_server_config]
        cert_file = "cert.pem"
        key_file = "key.pem"
        client_auth_type = "RequireAndVerifyClientCert"
        client_ca_file = "ca.pem"
        client_allowed_sans = ["prometheus"]
        min_version = "TLS13"
        [http_server_config.headers]
        Strict-Transport-Security = "max-age=63072000"
        X-Frame-Options = ""
        [basic_auth_users]
        prometheus = "{HASH}"
        [rate_limit]
        interval = "100ms"
        burst = 20
        """,
    )
    assert web.tls is not None
    assert web.tls.cert_file == str(files / "cert.pem")
    assert web.headers.overrides() == {"Strict-Transport-Security": "max-age=63072000", "X-Frame-Options": ""}
    assert web.users == {"prometheus": HASH}
    assert (web.rate_limit.seconds, web.rate_limit.burst) == (0.1, 20)
    assert web.requires_authentication


def test_an_empty_file_means_no_tls_and_no_passwords(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == WebConfig()
    assert not WebConfig().requires_authentication


TLS = '[tls_server_config]\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[tls_config]", 'unknown table "tls_config", did you mean "tls_server_config"?'),
        ("rate_limit = 3", "rate_limit: expected one table [rate_limit], found an integer"),
        (TLS + "cert_fil = 1", '[tls_server_config]: unknown key "cert_fil", did you mean "cert_file"?'),
        ('[tls_server_config]\ncert_file = "cert.pem"', "[tls_server_config]: key_file is missing"),
        (TLS.replace("cert.pem", "no.pem"), "no.pem cannot be read: No such file or directory"),
        (TLS.replace("key.pem", "other.pem"), "are not a certificate and its key: KEY_VALUES_MISMATCH"),
        (TLS.replace("key.pem", "web.toml"), "are not a certificate and its key"),
        (TLS + 'min_version = "TLS10"', "[tls_server_config]: min_version: "),
        (TLS + 'min_version = "TLS13"\nmax_version = "TLS12"', "min_version is above max_version"),
        (TLS + 'client_auth_type = "RequireAndVerifyClientCert"', "need each other"),
        (TLS + 'client_allowed_sans = ["a"]', "client_allowed_sans needs client_auth_type"),
        (
            TLS + 'client_auth_type = "VerifyClientCertIfGiven"\nclient_ca_file = "key.pem"',
            "key.pem holds no certificate",
        ),
        ("[http_server_config]\nhttp2 = true", '[http_server_config]: unknown key "http2"'),
        ("[http_server_config]\nheaders = 1", "[http_server_config]: headers: expected a table, found an integer"),
        ('[http_server_config.headers]\nX-Frame-Options = "allow"', "[http_server_config.headers]: X-Frame-Options: "),
        ('[http_server_config.headers]\nContent-Security-Policy = "a\\r\\nb"', "must be printable ASCII on one line"),
        ('[rate_limit]\ninterval = "1 second"', '[rate_limit]: interval must be a duration such as "100ms"'),
        ('[rate_limit]\ninterval = "1s"', "[rate_limit]: burst must be at least 1"),
        ('[basic_auth_users]\nu = "CANARY"', '[basic_auth_users]: "u": expected a bcrypt hash of cost 4 to 18'),
        ("[basic_auth_users]\nu = 12345678", '[basic_auth_users]: "u": expected a bcrypt hash of cost 4 to 18'),
        (f'[basic_auth_users]\nu = "{HASH.replace("$10$", "$31$")}"', "expected a bcrypt hash of cost 4 to 18"),
        (f'[basic_auth_users]\n"a:b" = "{HASH}"', "may not be empty or hold a colon"),
        ("[", "is not valid TOML"),
    ],
)
def test_one_sentence_with_file_table_and_key(files: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(files, text)
    (problem,) = raised.value.problems
    assert problem.startswith(f"{files}/web.toml: ")
    assert sentence in problem
    assert "CANARY" not in problem
    assert "12345678" not in problem
    assert HASH not in problem


def test_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_text('[exporter]\nweb_config = "web.toml"\n')
    with pytest.raises(ConfigError, match=r"web\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "exporter.toml")


scalars = st.text(max_size=20) | st.integers() | st.booleans() | st.floats() | st.none()
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3))
keys = st.sampled_from(
    ["tls_server_config", "basic_auth_users", "rate_limit", "http_server_config", "cert_file", "key_file", "headers",
     "client_auth_type", "X-Frame-Options", "interval", "burst"]
) | st.text(max_size=8)  # fmt: skip


@given(st.dictionaries(keys, st.dictionaries(keys, values, max_size=4) | values, max_size=4))
def test_any_document_is_read_or_refused(document: dict) -> None:
    problems = Problems("web.toml")
    assert isinstance(convert_web_config(document, Path("/nowhere"), problems), WebConfig)
    assert all(sentence.startswith("web.toml: ") and "\n" not in sentence for sentence in problems.sentences)
