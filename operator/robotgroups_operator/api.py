"""The operator's calls to the API server: plain JSON in and out, over the asynchronous client of `kubernetes`."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, ApiException, Configuration

from robotgroups_operator.names import MANAGER, Kind

logger = logging.getLogger(__name__)

JsonObject = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TIMEOUT_SECONDS = 15
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


class ApiError(Exception):
    """The API server refused, or was not reached (status 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{reason} ({status}): {message}" if status else message)
        self.status = status
        self.reason = reason

    @property
    def namespace_terminating(self) -> bool:
        """Whether the namespace is being deleted, so that nothing can be made in it."""
        return self.status == HTTPStatus.FORBIDDEN and "is being terminated" in str(self)


class NotFoundError(ApiError):
    """The object, or its kind, is not there."""


class ConflictError(ApiError):
    """The object exists already, is another one than was meant, or has fields that somebody else owns."""


@dataclass(frozen=True)
class Listing:
    """The objects of a kind at one resource version."""

    items: tuple[JsonObject, ...]
    resource_version: str


def _error(status: int, body: bytes) -> ApiError:
    try:
        answer = json.loads(body)
        reason, message = str(answer.get("reason") or status), str(answer.get("message") or "no message")
    except (ValueError, AttributeError):
        reason, message = str(status), body[:200].decode(errors="replace")
    kinds: dict[int, type[ApiError]] = {HTTPStatus.NOT_FOUND: NotFoundError, HTTPStatus.CONFLICT: ConflictError}
    return kinds.get(status, ApiError)(status, reason, message)


async def load_configuration() -> Configuration:
    """The service account's access inside a pod; else what KUBECONFIG names."""
    configuration = Configuration()
    if IN_CLUSTER in os.environ and not os.environ.get("KUBECONFIG"):
        kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        path = os.environ.get("KUBECONFIG")  # read here: the library reads it when it is imported
        await kube_config.load_kube_config(path, client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = 50
    return configuration


class KubernetesApi:
    """A client for the few calls that the operator needs. Every method raises ApiError."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    @classmethod
    async def connect(cls) -> Self:
        """Makes the client; the first call connects."""
        return cls(ApiClient(await load_configuration()))

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        """One object, or None when it is not there."""
        try:
            return await self._call("GET", kind.value.path(namespace, name))
        except NotFoundError:
            return None

    async def list(self, kind: Kind, namespace: str | None = None, *, labels: str | None = None) -> Listing:
        """All objects of a kind (with these labels), as of now."""
        query = [("labelSelector", labels)] if labels else []
        answer = await self._call("GET", kind.value.path(namespace), query=query)
        head = {"apiVersion": kind.value.api_version, "kind": kind.value.kind}
        return Listing(tuple(head | item for item in answer["items"]), answer["metadata"]["resourceVersion"])

    async def apply(self, kind: Kind, manifest: JsonObject, *, force: bool) -> JsonObject:
        """Server-side apply; without `force` ConflictError when somebody else owns a field with another value."""
        metadata = manifest["metadata"]
        query = [("fieldManager", MANAGER), ("force", "true" if force else "false"), ("fieldValidation", "Strict")]
        path = kind.value.path(metadata["namespace"], metadata["name"])
        return await self._call("PATCH", path, body=manifest, query=query, content_type=APPLY)

    async def patch(
        self, kind: Kind, namespace: str, name: str, patch: JsonObject, *, subresource: str | None = None
    ) -> JsonObject:
        """JSON merge patch."""
        path = kind.value.path(namespace, name, subresource)
        return await self._call("PATCH", path, body=patch, query=[("fieldManager", MANAGER)], content_type=MERGE)

    async def create(self, kind: Kind, manifest: JsonObject) -> JsonObject:
        """Creates; ConflictError when the name is taken."""
        path = kind.value.path(manifest["metadata"]["namespace"])
        return await self._call("POST", path, body=manifest, query=[("fieldManager", MANAGER)])

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Deletes this very object (by UID) with what it owns; no error when it is gone already."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        try:
            await self._call("DELETE", kind.value.path(namespace, name), body=body)
        except (NotFoundError, ConflictError) as error:
            logger.debug("%s %s/%s is gone already: %s", kind.value.kind, namespace, name, error)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
    ) -> JsonObject:
        try:
            request = await self._client.param_serialize(
                method,
                path,
                query_params=list(query),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
            content: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, ApiException, TimeoutError, OSError) as error:
            raise ApiError(
                0, "Unreachable", f"the API server was not reached: {error or type(error).__name__}"
            ) from error
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise _error(response.status, content)
        answer: JsonObject = json.loads(content)
        return answer
