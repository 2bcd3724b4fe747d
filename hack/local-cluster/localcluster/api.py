"""The API server, spoken to directly: waiting, reading and watching without a process for each question."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from localcluster.commands import run
from localcluster.console import ClusterError
from localcluster.settings import API_PORT, API_SERVER, Places

URL = f"https://{API_SERVER}:{API_PORT}"


class Api:
    """A client with the administrator's token."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._token = (places.pki / "admin.token").read_text().strip()
        self._certificate = places.pki / "apiserver.crt"

    def _open(self, path: str, *, timeout: float, method: str = "GET", body: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 (the address is ours)
            URL + path,
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/merge-patch+json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        context = ssl.create_default_context(cafile=self._certificate)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        return opener.open(request, timeout=timeout)

    def get(self, path: str) -> Any:
        """The JSON document at `path`; a ClusterError carries the server's refusal."""
        try:
            with self._open(path, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ClusterError(f"GET {path}: {error.code}: {error.read().decode(errors='replace')[:500]}") from error

    def merge(self, path: str, patch: object) -> Any:
        """Applies a JSON merge patch."""
        with self._open(path, timeout=10, method="PATCH", body=patch) as answer:
            return json.load(answer)

    def watch(self, path: str) -> Iterator[Any]:
        """Events of a collection, beginning with what exists, until the server ends the watch."""
        with self._open(f"{path}?watch=1&timeoutSeconds=300", timeout=330) as answer:
            for line in answer:
                yield json.loads(line)

    def ready(self) -> bool:
        """Whether the server answers and is ready."""
        try:
            with self._open("/readyz", timeout=2) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (OSError, urllib.error.HTTPError):  # not listening yet, no certificate yet, or 500 while it starts
            return False

    def apply(self, *documents: object, text: str = "") -> None:
        """Applies objects, or manifests in YAML."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}) if documents else text
        kubectl = self._places.bin / "kubectl"
        run(kubectl, "--kubeconfig", self._places.kubeconfig, "apply", "--server-side", "-f", "-", stdin=listed)
