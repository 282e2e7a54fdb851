"""A Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager on free ports.

The API server is the real one, so it validates, sets defaults, admits (Pod Security among others) and warns as a cluster
does; the controllers make pods of DaemonSets and Deployments. No kubelet runs: `play_kubelet` says what one would say.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.manifests import ROOT
from tests.system.programs import find, free_port, running, until

CONTROLLERS = (
    "daemonset", "deployment", "replicaset", "serviceaccount", "disruption", "garbage-collector", "namespace", "cronjob", "job",
)  # fmt: skip
TOKEN = "admin-of-the-test"


class Cluster:
    """Runs kubectl and helm against the API server. `folder` holds the kubeconfig, helm's settings and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        programs = ":".join({str(Path(find(program)).parent) for program in ("helm", "kubectl")})
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(self.kubeconfig),
            "NO_PROXY": "127.0.0.1",
        }

    def run(self, command: str | list[str], given: str | None = None, folder: Path = ROOT) -> str:
        """What the command prints, on both ways out. Raises with it where the command fails; a string goes to the shell."""
        done = subprocess.run(
            command, shell=isinstance(command, str), cwd=folder, env=self.environment, input=given, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            raise ValueError(f"{command} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def kubectl(self, *words: str | Path, given: str | None = None) -> str:
        return self.run(["kubectl", *map(str, words)], given)

    def objects(self, kinds: str, *words: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kinds, *words, "--output", "json"))["items"]
        return items

    def add_node(self, name: str) -> None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        }
        self.kubectl("create", "--filename", "-", given=yaml.safe_dump(node))
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"pods": "110"}}}
        self.kubectl("patch", "node", name, "--subresource", "status", "--patch", json.dumps(ready))
        self.kubectl("patch", "node", name, "--patch", json.dumps({"spec": {"taints": None}}))

    def play_kubelet(self, namespace: str, node: str) -> int:
        """Binds every pod that has no node to this one, and says of each that it is ready. Gives the number of pods."""
        pods = self.objects("pods", "--namespace", namespace)
        for pod in pods:
            name = pod["metadata"]["name"]
            if "nodeName" not in pod["spec"]:
                binding = {
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": node},
                }  # fmt: skip
                path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
                self.kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(binding))
            conditions = [{"type": each, "status": "True"} for each in ("PodScheduled", "Ready", "ContainersReady")]
            status = {"status": {"phase": "Running", "conditions": conditions}}
            self.kubectl(
                "patch", "pod", name, "--namespace", namespace, "--subresource", "status", "--patch", json.dumps(status)
            )
        return len(pods)


@contextmanager
def control_plane(built: Path, folder: Path) -> Iterator[Cluster]:
    """Starts the programs of the folder `built`, and ends them. `folder` is theirs to write into."""
    cluster = Cluster(folder)
    clients, peers, secure = (free_port() for _ in range(3))
    key = folder / "key.pem"
    cluster.run(["openssl", "genrsa", "-out", str(key), "2048"])
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
    url = f"https://127.0.0.1:{secure}"
    certificate = folder / "certificates/apiserver.crt"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(certificate)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
    }  # fmt: skip
    cluster.kubeconfig.write_text(yaml.safe_dump(config))
    store = f"http://127.0.0.1:{clients}"
    etcd = [
        f"{built}/etcd", f"--data-dir={folder}/etcd", f"--listen-client-urls={store}", f"--advertise-client-urls={store}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}", "--unsafe-no-fsync", "--log-level=error",
    ]  # fmt: skip
    server = [
        f"{built}/kube-apiserver", f"--etcd-servers={store}", "--bind-address=127.0.0.1", f"--secure-port={secure}",
        f"--cert-dir={certificate.parent}", f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}", "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
    ]  # fmt: skip
    controllers = [
        f"{built}/kube-controller-manager", f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false", "--secure-port=0",
        f"--service-account-private-key-file={key}", f"--controllers={','.join(f'{each}-controller' for each in CONTROLLERS)}",
    ]  # fmt: skip

    def ready() -> bool:
        try:
            return cluster.kubectl("get", "--raw", "/readyz") == "ok"
        except ValueError:
            return False

    with ExitStack() as programs:
        programs.enter_context(running(etcd, folder))
        programs.enter_context(running(server, folder))
        until("the API server", ready, 120)
        programs.enter_context(running(controllers, folder))
        yield cluster
