"""The cluster, for the demo and the end-to-end tests: kubectl and helm as a person uses them, the API for looking."""

import json
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import urllib3.exceptions
from kubernetes import config
from kubernetes.client import ApiClient, ApiException

from localcluster.commands import run
from localcluster.console import ClusterError

JsonObject = dict[str, Any]
T = TypeVar("T")

GROUPS = "/apis/robotgroups.dev/v1alpha1"
FIELD_MANAGER = "robotgroups-demo"
API_SECONDS = 15


class Kube:
    """One cluster. Every method raises ClusterError with what to do about it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        try:
            self._client: ApiClient = config.new_client_from_config(environment["KUBECONFIG"])  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            raise ClusterError(f"{environment['KUBECONFIG']} cannot be used: {error}: set KUBECONFIG") from error

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl and returns what it printed."""
        return self._run("kubectl", *arguments, stdin=stdin)

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs helm and returns what it printed."""
        return self._run("helm", *arguments, stdin=stdin)

    @property
    def environment(self) -> dict[str, str]:
        """For programs that are started: KUBECONFIG, and PATH with kubectl and helm."""
        return self._environment

    def get(self, path: str) -> JsonObject | None:
        """The object at a path of the API; None when it is not there."""
        return self._call("GET", path)

    def listing(self, path: str, labels: str = "") -> list[JsonObject]:
        """The objects of a collection, those with these labels."""
        found = self._call("GET", path, query=[("labelSelector", labels)] if labels else [])
        return list(found["items"]) if found else []

    def patch(self, path: str, patch: JsonObject) -> JsonObject:
        """JSON merge patch of an object that exists."""
        changed = self._call("PATCH", path, body=patch, content_type="application/merge-patch+json")
        if changed is None:
            raise ClusterError(f"{path} is gone")
        return changed

    def delete(self, path: str, *, grace: int | None = None) -> None:
        """Deletes an object with what it owns; no error when it is gone already."""
        options: JsonObject = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        self._call("DELETE", path, body=options)

    def group(self, namespace: str, name: str) -> JsonObject | None:
        """A RobotGroup."""
        return self.get(f"{GROUPS}/namespaces/{namespace}/robotgroups/{name}")

    def pods(self, namespace: str, labels: str = "") -> list[JsonObject]:
        """Pods of a namespace."""
        return self.listing(f"/api/v1/namespaces/{namespace}/pods", labels)

    def robot_pod(self, namespace: str, group: str, robot: str) -> JsonObject:
        """The one pod of a robot that is not being deleted."""
        labels = f"robotgroups.dev/group={group},robotgroups.dev/robot={robot}"
        found = [pod for pod in self.pods(namespace, labels) if "deletionTimestamp" not in pod["metadata"]]
        if len(found) != 1:
            raise ClusterError(f"robot {robot} of group {namespace}/{group} has {len(found)} pods, not one")
        return found[0]

    def _run(self, *command: str, stdin: str | None) -> str:
        try:
            return run(*command, stdin=stdin, env=self._environment)
        except FileNotFoundError as error:
            raise ClusterError(f"{command[0]} is not on the path: install it, or run `make demo`") from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> JsonObject | None:
        manager = [("fieldManager", FIELD_MANAGER)] if method == "PATCH" else []
        request = self._client.param_serialize(
            method,
            path,
            query_params=[*(query or []), *manager],
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=API_SECONDS)
            content = answer.read()  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise ClusterError(
                f"the API server does not answer ({error}): is the cluster up, and is KUBECONFIG right?"
            ) from error
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ClusterError(f"{method} {path}: {answer.status}: {content[:500].decode(errors='replace')}")
        document: JsonObject = json.loads(content)
        return document


def wait_until(
    what: str, seconds: float, probe: Callable[[], T | None], *, every: float = 0.1, explain: Callable[[], str] = str
) -> T:
    """Waits for a probe to return something; the ClusterError after `seconds` says what did not come, `explain` why."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            why = explain()
            raise ClusterError(f"{what}: not within {seconds:g} s" + (f"\n{why}" if why else ""))
        time.sleep(every)
