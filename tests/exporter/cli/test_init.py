"""`init` on made-up machines: what it finds, and that `check` takes what it writes."""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs

from exporter.advice.survey import survey
from exporter.cli import main
from exporter.config.loader import load
from exporter.config.settings import Config

SAMPLES = Path(__file__).parents[3] / "samples"
TIMED = "log_format timed-2 '$remote_addr [$time_local] \"$request\" $status $body_bytes_sent $request_time';"


def init(folder: Path, root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(
        main, ["init", "--config", str(folder / "exporter.toml"), "--root", str(root), *arguments]
    )
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("etc/nginx/sites-enabled", "var/log/nginx", "opt/dify/docker/volumes/logs/worker"):
        (root / folder).mkdir(parents=True)
    (root / "etc/nginx/nginx.conf").write_text(
        f"http {{\n  {TIMED}\n  access_log /var/log/nginx/access.log timed-2;\n}}\n# log_format timed-2 '$status';\n"
    )
    (root / "etc/nginx/sites-enabled/dify").write_text(
        "server {\n  access_log /var/log/nginx/dify.log;\n  access_log /dev/stdout;\n  access_log off;\n"
        "  access_log /var/log/nginx/$host.log timed-2;\n  access_log /var/log/nginx/odd.log unheard_of;\n}\n"
        "server { access_log /var/log/nginx/other.log timed-2 buffer=32k; error_log /var/log/nginx/dify-error.log warn; }\n"
        "# access_log /var/log/nginx/commented.log;\n"
    )
    shutil.copy(SAMPLES / "nginx-error.log", root / "var/log/nginx/error.log")
    shutil.copy(SAMPLES / "dify-worker.log", root / "opt/dify/docker/volumes/logs/worker/server.log")
    for number, (service, image) in enumerate(
        [
            ("api", "langgenius/dify-api:1.10.0"),
            ("db", "postgres:15"),
            ("plugin_daemon", "langgenius/dify-plugin-daemon"),
            ("nginx", "nginx:latest"),
            ("ssrf_proxy", "ubuntu/squid"),
        ]
    ):
        folder = root / f"var/lib/docker/containers/{number:064x}"
        folder.mkdir(parents=True)
        labels = {"com.docker.compose.service": service, "com.docker.compose.project": "docker"}
        container = {"Name": f"/docker-{service}-1", "Config": {"Image": image, "Labels": labels}}
        (folder / "config.v2.json").write_text(json.dumps(container))
        if service != "nginx":
            shutil.copy(SAMPLES / "docker-api.log", folder / f"{number:064x}-json.log")
    (root / "var/lib/docker/containers/broken").mkdir()
    (root / "var/lib/docker/containers/broken/config.v2.json").write_text('{"Name": null')
    return root


def test_it_finds_what_is_there(machine: Path, tmp_path: Path) -> None:
    output = init(tmp_path, machine)
    config = load(tmp_path / "exporter.toml")
    paths = {source.name: source.paths[0].removeprefix(str(machine)) for source in config.sources}
    assert paths == {
        "nginx": "/var/log/nginx/access.log",
        "nginx-2": "/var/log/nginx/dify.log",
        "nginx-3": "/var/log/nginx/other.log",
        "nginx-error": "/var/log/nginx/dify-error.log",
        "nginx-error-2": "/var/log/nginx/error.log",
        "worker": "/opt/dify/docker/volumes/logs/worker/server.log",
        "api": f"/var/lib/docker/containers/{0:064x}/*-json.log",
        "plugin-daemon": f"/var/lib/docker/containers/{2:064x}/*-json.log",
        "nginx-4": f"/var/lib/docker/containers/{3:064x}/*-json.log",
    }
    assert "9 sources" in output
    text = (tmp_path / "exporter.toml").read_text()
    assert 'envelope = "docker"' in text
    assert "$request_time" in text
    result = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "exporter.toml")])
    assert "every key and value is valid" in result.output
    assert result.exit_code == 1  # the access logs are still to come
    assert "no such file yet" in result.output


def test_below_the_root_of_this_machine_a_path_begins_with_one_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "access.log").touch()
    log = str(tmp_path / "access.log")
    monkeypatch.setattr("exporter.advice.survey._USUAL", [("nginx", log.lstrip("/"), {"parser": "nginx"})])
    assert [found.path for found in survey(Path("/"), [])[0] if found.path.endswith(log)] == [log]


def test_the_panels_that_manage_nginx(tmp_path: Path) -> None:
    """The layouts of BaoTa (/www/server) and of 1Panel, whose OpenResty runs in a container, in its versions 1 and 2."""
    root = tmp_path / "root"
    files = {
        "www/server/nginx/conf/nginx.conf": "http {\n  server { access_log /www/wwwlogs/access.log; }\n"
        "include /www/server/panel/vhost/nginx/*.conf;\n}\n",
        "www/server/panel/vhost/nginx/dify.example.org.conf": "server {\n  access_log  /www/wwwlogs/dify.example.org.log;\n"
        "  error_log  /www/wwwlogs/dify.example.org.error.log;\n}\n",
        "opt/1panel/www/sites/dify.example.org/log/access.log": (SAMPLES / "nginx-dify.log").read_text(
            errors="replace"
        ),
        "opt/1panel/apps/openresty/openresty/www/sites/old/log/access.log": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    init(tmp_path, root)
    sources = {source.paths[0].removeprefix(str(root)): source for source in load(tmp_path / "exporter.toml").sources}
    assert {path: structs.asdict(source.parser)["format"] for path, source in sources.items()} == {
        "/www/wwwlogs/access.log": "combined",
        "/www/wwwlogs/dify.example.org.log": "combined",
        "/www/wwwlogs/dify.example.org.error.log": "error",
        "/opt/1panel/www/sites/dify.example.org/log/access.log": "dify",
        "/opt/1panel/apps/openresty/openresty/www/sites/old/log/access.log": "dify",
    }


def test_a_machine_without_logs_gets_a_beginning(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "set its path" in init(tmp_path, tmp_path / "empty")
    assert [source.name for source in load(tmp_path / "exporter.toml").sources] == ["nginx"]


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_text("precious")
    result = CliRunner().invoke(main, ["init", "--config", str(tmp_path / "exporter.toml"), "--root", str(tmp_path)])
    assert result.exit_code == 2
    assert "exists: replace it with --force" in result.stderr
    assert (tmp_path / "exporter.toml").read_text() == "precious"
    init(tmp_path, tmp_path, "--force")
    assert "precious" not in (tmp_path / "exporter.toml").read_text()
    assert os.listdir(tmp_path) == ["exporter.toml"]


@contextmanager
def no_room() -> Iterator[None]:
    """No file may be longer than 10 bytes: a write fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("file", "made", "around", "sentence"),
    [
        ("none/exporter.toml", "other", nullcontext, "cannot be written: No such file or directory"),
        ("/proc/exporter.toml", "other", nullcontext, "cannot be written: "),  # no user can write there
        ("exporter.toml", "exporter.toml", nullcontext, "is a directory"),
        ("exporter.toml", "other", no_room, "cannot be written: File too large"),
    ],
)
def test_a_file_that_cannot_be_written(
    tmp_path: Path, file: str, made: str, around: Callable[[], AbstractContextManager[None]], sentence: str
) -> None:
    (tmp_path / made).mkdir()
    for force in ([], ["--force"]):
        with around():
            arguments = ["init", "--config", str(tmp_path / file), "--root", str(tmp_path), *force]
            result = CliRunner().invoke(main, arguments)
        assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
        assert sentence in result.stderr
        assert file in result.stderr
        assert os.listdir(tmp_path) == [made]


def test_two_at_once_both_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one begins and ends while the first one has written its file and has not put it into place."""

    def load_late(path: Path) -> Config:
        monkeypatch.undo()
        init(tmp_path, tmp_path)
        return load(path)

    monkeypatch.setattr("exporter.cli.init.load", load_late)
    init(tmp_path, tmp_path)
    assert load(tmp_path / "exporter.toml").sources
    assert os.listdir(tmp_path) == ["exporter.toml"]


def test_named_files_are_detected_as_replay_detects_them(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    shutil.copy(SAMPLES / "dify-api-text.log", tmp_path / "api/server.log")
    shutil.copy(SAMPLES / "nginx-json.log", tmp_path / "access.log")
    shutil.copy(SAMPLES / "compose.log", tmp_path / "compose.log")
    shutil.copy(SAMPLES / "collector.log", tmp_path / "collector.log")  # its option `native` is true or false
    (tmp_path / "root").mkdir()
    names = "api/server.log", "access.log", "compose.log", "collector.log", "access.log"
    files = [str(tmp_path / name) for name in names]
    output = init(tmp_path, tmp_path / "root", *files)
    assert "4 sources" in output
    assert "it holds several services (api, sandbox, worker)" in output
    sources = {source.name: source for source in load(tmp_path / "exporter.toml").sources}
    assert {name: source.paths for name, source in sources.items()} == {
        "api": (files[0],), "nginx": (files[1],), "compose": (files[2],), "collector": (files[3],)
    }  # fmt: skip
    result = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "exporter.toml")])
    assert "41 lines: 41 observed, 0 ignored, 0 unparsed; yields requests (41)" in result.output
    assert (result.exit_code, "problem" in result.output) == (0, False)


ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("file", "sample", "name"),
    [
        ("api.log", "dify-api-text", "api"),
        ("worker.log.1", "dify-worker", "worker"),
        ("Plugin_Daemon-20261101.log", "plugin-daemon-gin", "plugin-daemon"),
        ("plugin_daemon/server.log", "plugin-daemon-gin", "plugin-daemon"),
        ("logs/server.log", "dify-api-text", "dify"),
        ("access_log", "nginx-dify", "nginx"),
        ("access.log-20261101", "nginx-dify", "nginx"),
        ("dify.example.org.log", "nginx-dify", "dify-example-org"),
        ("error.log", "nginx-error", "nginx-error"),
        ("日志.log", "nginx-dify", "nginx"),
        (f"{ID}/{ID}-json.log", "docker-api", "api"),
        (f"api-7d4_dify_dify-api-{ID}.log", "cri-worker", "dify-api"),
        ("dify_api-7d4_1f/dify-api/0.log", "cri-worker", "dify-api"),
    ],
)
def test_a_named_file_gives_its_source_a_clear_name(tmp_path: Path, file: str, sample: str, name: str) -> None:
    """Of a container its service or name, of another log that of the file, unless many programs name their logs so."""
    log, root = tmp_path / file, tmp_path / "root"
    log.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / f"{sample}.log", log)
    (log.parent / "config.v2.json").write_text('{"Name": "/api", "Config": {"Image": "langgenius/dify-api"}}')
    root.mkdir()
    (tmp_path / "other").mkdir()
    other = shutil.copy(SAMPLES / "nginx-json.log", tmp_path / "other" / f"{name}.log")
    init(tmp_path, root, str(log), str(other))
    assert [source.name for source in load(tmp_path / "exporter.toml").sources] == [name, f"{name}-2"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"hello\nworld\n", "no known format matches any line at its beginning"),
        ("GET /".encode("utf-16"), "is UTF-16; only UTF-8 is read"),
        (b"", "is empty, so its format is not known"),
        (None, "No such file or directory"),
    ],
)
def test_a_named_file_that_cannot_be_tailed_is_left_out(tmp_path: Path, content: bytes | None, why: str) -> None:
    """The others are written, and the exit code says that one is missing."""
    named = tmp_path / "named.log"
    if content is not None:
        named.write_bytes(content)
    (tmp_path / "root").mkdir()
    arguments = ["--config", str(tmp_path / "x.toml"), "--root", str(tmp_path / "root")]
    result = CliRunner().invoke(main, ["init", *arguments, str(named), str(SAMPLES / "nginx-dify.log")])
    assert result.exit_code == 2
    assert f"left out: {named} (named on the command line): {why}" in result.output
    assert [source.name for source in load(tmp_path / "x.toml").sources] == ["nginx-dify"]
