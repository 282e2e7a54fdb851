"""One list of what a reader of docs/ does, and the command for it where the reader is.

A page holds what to do in a comment, and the commands for compose, Kubernetes and a bare machine below it:

    <!-- commands
    query 'up{job="dify-exporter"}'
    dify-log api 2000 | grep ERROR | tail
    -->
    (written by `make docs`)
    <!-- end of commands -->

`python -m tests.reader_commands` (`make docs`) writes them, and tests/test_reader_commands.py compares. No command needs a
program on the host that the variant does not bring, or asks a port that is not published.
"""

import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"

#: Headings by variant: English, Chinese. Compose is this repository's deploy/compose.yaml beside Dify's own compose project,
#: Kubernetes the chart beside kube-prometheus-stack, bare the Debian packages.
VARIANTS = {
    "compose": ("Docker compose", "Docker compose"),
    "kubernetes": ("Kubernetes", "Kubernetes"),
    "bare": ("Bare machine", "直接安装"),
}

_OURS = "docker compose -p dify-monitoring exec"  # the project's name: works in every folder
_CONFIG = "--config /etc/dify-exporter/exporter.toml"

#: What runs where: the words before the arguments, by variant. The names of Kubernetes' services are those that the
#: Prometheus operator gives them in every installation.
PREFIXES = {
    "promtool": {
        "compose": f"{_OURS} prometheus promtool",
        "kubernetes": "kubectl -n monitoring exec svc/prometheus-operated -c prometheus -- promtool",
        "bare": "promtool",
    },
    "amtool": {
        "compose": f"{_OURS} alertmanager amtool --alertmanager.url=http://127.0.0.1:9093",
        "kubernetes": "kubectl -n monitoring exec svc/alertmanager-operated -c alertmanager -- amtool --alertmanager.url=http://127.0.0.1:9093",
        "bare": "amtool --alertmanager.url=http://127.0.0.1:9093",
    },
    "exporter": {
        "compose": f"{_OURS} dify-exporter dify-exporter",
        "kubernetes": "kubectl -n dify-monitoring exec daemonset/dify-exporter -- dify-exporter",
        "bare": "/opt/dify-exporter/bin/dify-exporter",
    },
    # A page of Prometheus or Alertmanager, or of Dify as Prometheus reaches it.
    "get": {
        "compose": f"{_OURS} prometheus wget -qO- -T 5",
        "kubernetes": "kubectl -n monitoring exec svc/prometheus-operated -c prometheus -- wget -qO- -T 5",
        "bare": "curl -sS -m 5",
    },
}

#: Addresses of `get`, by variant: as Prometheus reaches them.
ADDRESSES = {
    "dify-health": {
        "compose": "http://api:5001/health",
        "kubernetes": "http://dify-api.dify:5001/health",
        "bare": "http://localhost/console/api/ping",  # nginx passes no /health on, and 5001 is not published
    },
    "prometheus": dict.fromkeys(VARIANTS, "http://127.0.0.1:9090"),
    "alertmanager": {
        "compose": "http://alertmanager:9093",
        "kubernetes": "http://alertmanager-operated:9093",
        "bare": "http://127.0.0.1:9093",
    },
    "exporter": {
        "compose": "http://dify-exporter:9877",
        "kubernetes": "http://dify-exporter.dify-monitoring:9877",
        "bare": "http://127.0.0.1:9877",
    },
    "blackbox": {
        "compose": "http://blackbox-exporter:9115",
        "kubernetes": "http://dify-exporter-blackbox.dify-monitoring:9115",
        "bare": "http://127.0.0.1:9115",
    },
}

#: A target of blackbox_exporter that the deployment has, with its module, by variant.
PROBED = {
    "compose": "module=redis&target=redis:6379",
    "kubernetes": "module=redis&target=dify-redis-master.dify:6379",
    "bare": "module=console_ping&target=http://localhost/console/api/ping",
}

#: Our services: the compose project and service, the object in Kubernetes with its namespace, the unit of systemd. Proxy
#: and receiver run in Dify's own compose project.
OUR_SERVICES = {
    "exporter": ("dify-monitoring", "dify-exporter", "-n dify-monitoring", "daemonset/dify-exporter", "dify-exporter"),
    "proxy": ("docker", "dify-proxy", "-n dify-monitoring", "deployment/dify-exporter-proxy", "dify-exporter-proxy"),
    "receiver": (
        "docker", "dify-exporter-receive", "-n dify-monitoring", "deployment/dify-exporter-receiver", "dify-exporter-receive",
    ),
    "prometheus": ("dify-monitoring", "prometheus", "-n monitoring", "svc/prometheus-operated", "prometheus"),
    "alertmanager": (
        "dify-monitoring", "alertmanager", "-n monitoring", "svc/alertmanager-operated", "prometheus-alertmanager",
    ),
}  # fmt: skip

#: Files that promtool and amtool read, by variant.
FILES = {
    "prometheus.yml": {
        "compose": "/etc/prometheus/prometheus.yml",
        "kubernetes": "/etc/prometheus/config_out/prometheus.env.yaml",
        "bare": "/etc/prometheus/prometheus.yml",
    },
    "alertmanager.yml": {
        "compose": "/tmp/alertmanager.yml",
        "kubernetes": "/etc/alertmanager/config_out/alertmanager.env.yaml",
        "bare": "/etc/prometheus/alertmanager.yml",
    },
}

#: Dify's services: the name in Dify's compose file, the Deployment of the community chart, the log file on the host.
_LOGS = "/opt/dify/docker/volumes/logs"
SERVICES = {
    "api": ("api", "dify-api", f"{_LOGS}/api/server.log"),
    "worker": ("worker", "dify-worker", f"{_LOGS}/worker/server.log"),
    "nginx": ("nginx", "dify-proxy", f"{_LOGS}/nginx/access.log"),
    "plugin_daemon": ("plugin_daemon", "dify-plugin-daemon", ""),
}

_BLOCK = re.compile(r"(?ms)^( *)<!-- commands\n(.*?)-->\n(.*?)^ *<!-- end of commands -->$")


def command(line: str, variant: str) -> str:
    """The command of one line for one variant. Raises ValueError for a line that means nothing here.

    promtool ARGUMENTS, amtool ARGUMENTS, exporter ARGUMENTS: these programs; the exporter gets its --config, and
        {prometheus.yml} and {alertmanager.yml} are replaced by the place of that file
    query 'EXPRESSION': asks Prometheus
    get NAME[/PATH] [| FILTER]: a page of ADDRESSES
    probe: what blackbox_exporter does when it probes a target (PROBED)
    log SERVICE LINES [| FILTER]: the newest lines of one of our services (OUR_SERVICES)
    ps SERVICE: whether one of our services runs
    disk: the space of the exporter's state
    dify-log SERVICE LINES [| FILTER]: the newest lines of a log of Dify
    dify-ps [SERVICE...]: whether these services of Dify run; all services if none is named
    dify-restart SERVICE
    dify-exec SERVICE COMMAND: a command in the container
    dify-get PATH: a page of Dify's api that nginx does not pass on
    """
    verb, _, rest = line.partition(" ")
    if verb == "query":
        return f"{PREFIXES['promtool'][variant]} query instant http://127.0.0.1:9090 {rest}"
    if verb == "exporter":
        return _piped(PREFIXES["exporter"][variant], rest, f" {_CONFIG}")
    if verb == "get":
        place, bar, behind = rest.partition(" | ")
        name, slash, path = place.partition("/")
        return f"{PREFIXES['get'][variant]} {_quoted(ADDRESSES[name][variant] + slash + path)}{bar}{behind}"
    if verb == "probe":
        return command(f"get blackbox/probe?{PROBED[variant]}&debug=true", variant)
    if verb in PREFIXES:
        for name, places in FILES.items():
            rest = rest.replace(f"{{{name}}}", places[variant])
        return f"{PREFIXES[verb][variant]} {rest}"
    if verb in ("log", "ps", "disk"):
        return _of_ours(verb, rest, variant)
    if verb in ("dify-exec", "dify-get"):
        return _in_dify(verb, rest, variant)
    if verb.startswith("dify-"):
        return _of_dify(verb.removeprefix("dify-"), rest, variant)
    raise ValueError(f"{line!r} begins with no verb of tests/reader_commands.py")


def _piped(program: str, rest: str, last: str) -> str:
    arguments, bar, behind = rest.partition(" | ")
    return f"{program} {arguments}{last}{bar}{behind}"


def _quoted(address: str) -> str:
    """The address, in quotes if a shell reads more in it."""
    return f"'{address}'" if set("?&") & set(address) else address


def _of_ours(verb: str, rest: str, variant: str) -> str:
    names, bar, behind = rest.partition(" | ")
    name, _, lines = (names or "exporter").partition(" ")
    project, compose, namespace, place, unit = OUR_SERVICES[name]
    if verb == "disk":
        prefix = {"compose": f"{_OURS} {compose} ", "kubernetes": f"kubectl {namespace} exec {place} -- ", "bare": ""}
        return f"{prefix[variant]}df -h /var/lib/dify-exporter"
    commands = {
        ("log", "compose"): f"docker compose -p {project} logs --no-log-prefix --tail {lines} {compose}",
        ("log", "kubernetes"): f"kubectl {namespace} logs {place} --tail {lines}",
        ("log", "bare"): f"journalctl -u {unit} -n {lines} --no-pager",
        ("ps", "compose"): f"docker compose -p {project} ps --all {compose}",
        ("ps", "kubernetes"): f"kubectl {namespace} get {place}",
        ("ps", "bare"): f"systemctl status {unit} --no-pager",
    }
    return f"{commands[verb, variant]}{bar}{behind}"


def _in_dify(verb: str, rest: str, variant: str) -> str:
    if verb == "dify-get" and variant != "bare":
        prefix, host = PREFIXES["get"][variant], ADDRESSES["dify-health"][variant].removesuffix("/health")
        return f"{prefix} {host}/{rest}"
    if verb == "dify-get":  # on a bare machine 5001 is not published
        rest = f"api curl -sS -m 5 http://localhost:5001/{rest}"
    name, _, words = rest.partition(" ")
    compose, deployment, _ = SERVICES[name]
    if variant == "kubernetes":
        return f"kubectl -n dify exec deployment/{deployment} -- {words}"
    return f"docker compose -p docker exec -T {compose} {words}"


def _of_dify(what: str, rest: str, variant: str) -> str:
    names, bar, behind = rest.partition(" | ")
    if what == "log":
        name, lines = names.split()
        compose, deployment, file = SERVICES[name]
        if variant == "kubernetes":
            return f"kubectl -n dify logs deployment/{deployment} --tail {lines}{bar}{behind}"
        if variant == "bare" and file:
            return f"tail -n {lines} {file}{bar}{behind}"
        return f"docker compose -p docker logs --no-log-prefix --tail {lines} {compose}{bar}{behind}"
    services = [SERVICES[name] for name in names.split()]
    deployments = " ".join(f"deployment/{deployment}" for _, deployment, _ in services)
    verbs = {"ps": ("ps --all", "get"), "restart": ("restart", "rollout restart")}
    if what not in verbs:
        raise ValueError(f"dify-{what} is no verb of tests/reader_commands.py")
    if variant == "kubernetes":
        return f"kubectl -n dify {verbs[what][1]} {deployments or 'pods'}"
    return " ".join(["docker compose -p docker", verbs[what][0], *(compose for compose, _, _ in services)])


def blocks(text: str) -> Iterator[list[str]]:
    """The lines of each block of a page."""
    for found in _BLOCK.finditer(text):
        yield found[2].splitlines()


def written(text: str, chinese: bool = False) -> str:
    """The page with the commands of all its blocks."""

    def block(found: re.Match[str]) -> str:
        indent, lines = found[1], found[2].splitlines()
        out = ["<!-- commands", *(line.strip() for line in lines), "-->"]
        for variant, headings in VARIANTS.items():
            out += ["", f"{headings[chinese]}:", "", "```console"]
            out += [f"$ {command(line.strip(), variant)}" for line in lines]
            out += ["```"]
        return "\n".join(indent + line if line else "" for line in [*out, "", "<!-- end of commands -->"])

    return _BLOCK.sub(block, text)


def pages() -> list[Path]:
    """The pages of docs/ that have such blocks."""
    return [page for page in sorted(DOCS.rglob("*.md")) if "<!-- commands\n" in page.read_text()]


if __name__ == "__main__":
    for each in pages():
        each.write_text(written(each.read_text(), chinese="zh" in each.parts))
