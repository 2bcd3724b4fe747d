"""Writes to the cluster: only what differs, and never an object that is not the group's own."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog

from robotgroups_operator.api import ApiError, ConflictError, KubernetesApi, NotFoundError
from robotgroups_operator.cache import Cache
from robotgroups_operator.children import Apply, Delete, Ownership, Step, ownership
from robotgroups_operator.drift import differences
from robotgroups_operator.labels import LabelPatch
from robotgroups_operator.manifests.identity import Group, Manifest
from robotgroups_operator.metrics import WRITES
from robotgroups_operator.names import Kind
from robotgroups_operator.observation import Problem

log = structlog.get_logger(__name__)

JsonObject = dict[str, Any]
RETRY_SECONDS = 5.0
"""How long a write that was refused is left alone, unless what is to be written changes."""


@dataclass(frozen=True)
class Applied:
    """What came of a list of steps."""

    problems: tuple[Problem, ...] = ()
    pending: tuple[str, ...] = ()

    def and_also(self, *others: "Applied") -> "Applied":
        """All of it together, in this order."""
        every = (self, *others)
        return Applied(tuple(p for a in every for p in a.problems), tuple(p for a in every for p in a.pending))


@dataclass(frozen=True)
class _Settled:
    """An object that was written and still looks different: the API server has its own way to put it."""

    manifest: Manifest
    state: object


@dataclass(frozen=True)
class _Refused:
    """A write that was refused."""

    manifest: Manifest
    problem: Problem
    until: float


def _state(found: JsonObject) -> object:
    metadata = found["metadata"]
    return (metadata["uid"], metadata.get("generation") or metadata.get("resourceVersion"))


def _title(kind: Kind, manifest: Manifest) -> str:
    return f"{kind.value.kind} {manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


class Applier:
    """Carries out the steps of one group."""

    def __init__(self, api: KubernetesApi, cache: Cache) -> None:
        self._api = api
        self._cache = cache
        self._settled: dict[tuple[Kind, str], _Settled] = {}
        self._refused: dict[tuple[Kind, str], _Refused] = {}

    async def children(self, group: Group, steps: Iterable[Step]) -> Applied:
        """Carries out the steps; what is refused becomes a problem. Raises ApiError when the server is away."""
        problems, pending = [], []
        for step in steps:
            outcome = await (self._apply(group, step) if isinstance(step, Apply) else self._delete(step))
            if isinstance(outcome, Problem):
                problems.append(outcome)
            elif outcome:
                pending.append(outcome)
        return Applied(tuple(problems), tuple(pending))

    async def labels(self, namespace: str, patches: Iterable[LabelPatch]) -> None:
        """Patches labels of pods; a pod that is gone is none of our business any more."""
        for patch in patches:
            try:
                body = await self._api.patch(Kind.POD, namespace, patch.pod, {"metadata": {"labels": patch.labels}})
            except NotFoundError:
                continue
            WRITES.labels(kind="Pod", verb="patch").inc()
            self._cache.put(Kind.POD, body)
            log.info("pod labelled", namespace=namespace, pod=patch.pod, labels=patch.labels, reason=patch.reason)

    async def _apply(self, group: Group, step: Apply) -> Problem | str | None:
        key = (step.kind, str(step.manifest["metadata"]["name"]))
        settled, refused = self._settled.get(key), self._refused.get(key)
        if settled and step.found and settled == _Settled(step.manifest, _state(step.found)):
            return None
        if refused and refused.manifest == step.manifest and time.monotonic() < refused.until:
            return refused.problem
        self._refused.pop(key, None)
        try:
            outcome = await self._write(group, step, key)
        except ApiError as error:
            outcome = _refusal(step, error)
        if isinstance(outcome, Problem):
            log.warning("write refused", object=_title(step.kind, step.manifest), reason=outcome.message)
            self._refused[key] = _Refused(step.manifest, outcome, time.monotonic() + RETRY_SECONDS)
        return outcome

    async def _write(self, group: Group, step: Apply, key: tuple[Kind, str]) -> Problem | str | None:
        metadata, title = step.manifest["metadata"], _title(step.kind, step.manifest)
        found = step.found or await self._api.get(step.kind, metadata["namespace"], metadata["name"])
        manifest = step.manifest
        if found is not None:
            owner = ownership(found, group)
            if owner is Ownership.PREDECESSOR:
                return f"waiting for {title} of the deleted group of this name to go"
            if owner is Ownership.STRANGER:
                return _conflict(step)
            if not differences(manifest, found):
                self._cache.put(step.kind, found)
                return None
            # the UID: should another object have taken the name meanwhile, the API server refuses
            manifest = manifest | {"metadata": metadata | {"uid": found["metadata"]["uid"]}}
        body = await self._api.apply(step.kind, manifest, force=found is not None)
        WRITES.labels(kind=step.kind.value.kind, verb="apply").inc()
        if step.kind is not Kind.SECRET:
            self._cache.put(step.kind, body)
        if differences(step.manifest, body):
            self._settled[key] = _Settled(step.manifest, _state(body))
        log.info("applied", object=title, reason=step.reason)
        return None

    async def _delete(self, step: Delete) -> Problem | str | None:
        metadata = step.found["metadata"]
        if "deletionTimestamp" in metadata:
            return None
        await self._api.delete(step.kind, metadata["namespace"], metadata["name"], uid=metadata["uid"])
        WRITES.labels(kind=step.kind.value.kind, verb="delete").inc()
        log.info("deleted", object=_title(step.kind, step.found), reason=step.reason)
        return None


def _conflict(step: Apply) -> Problem:
    title, name, namespace = (
        _title(step.kind, step.manifest),
        step.manifest["metadata"]["name"],
        step.manifest["metadata"]["namespace"],
    )
    return Problem(
        "NameConflict",
        f"{title} exists and is not this group's: delete it (kubectl delete {step.kind.value.kind.lower()} {name} "
        f"-n {namespace}), or give the group another name",
    )


def _refusal(step: Apply, error: ApiError) -> Problem | str:
    """What a refusal means; raises the error again when the API server was not reached or failed."""
    title = _title(step.kind, step.manifest)
    if error.status == 0 or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise error
    if isinstance(error, ConflictError):
        # made or replaced by somebody between our look and our write: look again
        return _conflict(step) if step.found is None else f"{title} changed meanwhile"
    if error.namespace_terminating:
        return f"namespace {step.manifest['metadata']['namespace']} is being deleted"
    if error.status in (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_REQUEST):
        return Problem("InvalidTemplate", f"{title} was refused: {error}: correct the template")
    return Problem("ApplyFailed", f"{title} was refused: {error}")
