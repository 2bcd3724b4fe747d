"""A client of a group's Service inside the cluster: a pod of the robots' image, and a driver in it that obeys us."""

import itertools
import json
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.diagnosis import explain_pod, is_ready
from demo.kube import JsonObject, Kube, wait_until
from localcluster.console import ClusterError

DRIVER = Path(__file__).with_name("driver.py")
POD_SECONDS = 60
SLEEP = "import signal; signal.sigwait({signal.SIGTERM})"
LIFETIME_SECONDS = 3600


class CallError(ClusterError):
    """The driver's answer to a command was an error."""


class GroupClient:
    """A context manager: makes the pod and starts the driver; removes both at the end."""

    def __init__(
        self, kube: Kube, namespace: str, group: str, image: str, *, node: str = "", name: str = "robotgroups-client"
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._manifest = client_pod(namespace, name, group, image, node)
        self._path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        self._name = name
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            self._start_pod()
            self._start_driver()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, operation: str, *, within_s: float = 60, **arguments: object) -> Any:
        """Sends a command and returns the result; CallError when it failed or took longer than `within_s` seconds."""
        process = self._process
        if process is None or process.stdin is None or process.poll() is not None:
            raise CallError(f"{operation}: the client in pod {self._namespace}/{self._name} does not run (any more)")
        number = next(self._numbers)
        future: Future[Any] = Future()
        self._waiting[number] = future
        process.stdin.write(json.dumps({"id": number, "op": operation, **arguments}) + "\n")
        process.stdin.flush()
        try:
            return future.result(within_s)
        except TimeoutError as error:
            raise CallError(f"{operation}: no answer within {within_s:g} s") from error

    def close(self) -> None:
        """Ends the driver and removes the pod."""
        if self._process is not None:
            self._process.kill()
            if self._reader is not None:
                self._reader.join()
            with self._process:  # waits, and closes its pipes
                pass
        self._kube.delete(self._path, grace=0)

    def _start_pod(self) -> None:
        self._kube.delete(self._path, grace=0)  # of a demo that was broken off
        wait_until("end of an earlier client pod", POD_SECONDS, lambda: self._kube.get(self._path) is None)
        self._kube.kubectl("apply", "--filename", "-", stdin=json.dumps(self._manifest))
        wait_until("start of the client pod", POD_SECONDS, self._ready, explain=self._explain)

    def _ready(self) -> bool:
        pod = self._kube.get(self._path)
        return pod is not None and is_ready(pod)

    def _explain(self) -> str:
        pod = self._kube.get(self._path)
        return "\n".join(explain_pod(self._kube, pod)) if pod else "it is gone"

    def _start_driver(self) -> None:
        command = [
            "kubectl",
            "-n",
            self._namespace,
            "exec",
            "-i",
            self._name,
            "--",
            "python3",
            "-uc",
            DRIVER.read_text(),
        ]
        self._process = subprocess.Popen(
            command,
            env=self._kube.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us: we end it when we have cleaned up
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None or process.stderr is None:
            return
        for line in process.stdout:
            answer = json.loads(line)
            future = self._waiting.pop(answer["id"])
            if "error" in answer:
                future.set_exception(CallError(answer["error"]))
            else:
                future.set_result(answer["result"])
        words = process.stderr.read().strip()
        for future in self._waiting.values():
            future.set_exception(CallError(f"the client in the cluster ended: {words or 'no word why'}"))


def client_pod(namespace: str, name: str, group: str, image: str, node: str) -> JsonObject:
    """The pod: robots' image, no privileges, the group's token as environment; `node` empty: anywhere."""
    selector: Mapping[str, str] = {"kubernetes.io/hostname": node} if node else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": LIFETIME_SECONDS,
            "nodeSelector": selector,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": ["python3", "-c", SLEEP],
                    "env": [
                        {"name": "ROBOTGROUPS_URL", "value": f"http://{group}.{namespace}.svc"},
                        {
                            "name": "ROBOTGROUPS_TOKEN",
                            "valueFrom": {"secretKeyRef": {"name": f"{group}-robotgroups", "key": "token"}},
                        },
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
