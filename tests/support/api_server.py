"""A real Kubernetes API server for tests: etcd and kube-apiserver on the loopback, without nodes and controllers.

It is up in about 5 s. What it stores and refuses is real; nothing runs a pod or collects garbage.
"""

import json
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from programs import program

START_LIMIT = 60  # seconds; it is 5 on a quiet machine
STOP_LIMIT = 20


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


class ApiServer:
    """etcd and kube-apiserver in a directory of their own. `start` first; `kubeconfig` is the administrator's."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rg-api-"))
        self.kubeconfig = self.directory / "kubeconfig"
        self._etcd, self._peer, self._port = _free_ports(3)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Starts both and waits until the API server is ready; RuntimeError with its log when it does not get there."""
        self._write_access()
        etcd = f"http://127.0.0.1:{self._etcd}"
        peer = f"http://127.0.0.1:{self._peer}"
        self._run(
            "etcd", "--data-dir", str(self.directory / "etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        )  # fmt: skip
        key = self.directory / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        self._run(
            "kube-apiserver", f"--etcd-servers={etcd}", f"--cert-dir={self.directory}",
            "--bind-address=127.0.0.1", f"--secure-port={self._port}", "--service-cluster-ip-range=198.19.0.0/20",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
        )  # fmt: skip
        self._wait_ready()

    def stop(self) -> None:
        """Ends both and removes everything they wrote."""
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory)

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as administrator; RuntimeError with what it said when it fails and `check` is set."""
        command = [program("kubectl"), "--kubeconfig", str(self.kubeconfig), *args]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(args)}: {done.stderr}")
        return done

    def get(self, *args: str) -> dict[str, Any]:
        """`kubectl get … -o json`."""
        answer: dict[str, Any] = json.loads(self.kubectl("get", *args, "-o", "json").stdout)
        return answer

    def install(self, manifest: Path) -> None:
        """Applies the CustomResourceDefinition of RobotGroups, and waits until they are served."""
        self.kubectl("apply", "-f", str(manifest))
        self.wait_until_served()

    def wait_until_served(self) -> None:
        """Returns once RobotGroups can be listed."""
        deadline = time.monotonic() + 30
        # established, and its storage still starts; `kubectl wait` fails where there is no condition yet
        while self.kubectl("get", "robotgroups", check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"RobotGroups are not served: {self.kubectl('get', 'crd', '-o', 'yaml').stdout}")
            time.sleep(0.1)

    def _write_access(self) -> None:
        token = secrets.token_hex(16)
        (self.directory / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
        cluster = {
            "server": f"https://127.0.0.1:{self._port}",
            "certificate-authority": str(self.directory / "apiserver.crt"),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(config))
        self.kubeconfig.chmod(0o600)

    def _run(self, name: str, *args: str) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            self._running.append(subprocess.Popen([program(name), *args], stdout=log, stderr=log, cwd=self.directory))

    def _wait_ready(self) -> None:
        limit = time.monotonic() + START_LIMIT
        while self.kubectl("get", "--raw", "/readyz", check=False).returncode != 0:
            if time.monotonic() > limit or any(process.poll() is not None for process in self._running):
                logs = {
                    name: (self.directory / f"{name}.log").read_text()[-3000:] for name in ("etcd", "kube-apiserver")
                }
                self.stop()
                raise RuntimeError(f"the API server did not start: {logs}")
            time.sleep(0.1)
