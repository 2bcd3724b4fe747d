"""The API keys of a group's models: in Secrets of its users, mounted into the robots' pods. Checked, never copied."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from robotgroups.endpoint import OPENAI_URL, check_api_key
from robotgroups.errors import ArgumentError
from robotgroups_operator.api import ApiError, KubernetesApi
from robotgroups_operator.names import Kind
from robotgroups_operator.observation import Problem
from robotgroups_operator.spec import Embedding, Extraction, Memory, SecretKey

KEY_MISSING = "ApiKeyMissing"
FILE = "api-key"
"""What the key is called where it is mounted."""


@dataclass(frozen=True)
class ApiKey:
    """One key that robots need."""

    model: str
    """What needs it: embedding or extraction."""
    reference: SecretKey
    base_url: str
    """The endpoint that it is for."""

    @property
    def field(self) -> str:
        """Where the resource names it."""
        return f"spec.memory.{self.model}.apiKeySecretRef"

    @property
    def variable(self) -> str:
        """The environment variable that tells robots the file."""
        return f"ROBOTGROUPS_{self.model.upper()}_API_KEY_FILE"

    @property
    def place_variable(self) -> str:
        """The environment variable that tells robots which endpoint it is for: they send it to no other."""
        return f"ROBOTGROUPS_{self.model.upper()}_API_KEY_FOR"

    @property
    def volume(self) -> str:
        """Name of the pod's volume."""
        return f"robotgroups-{self.model}-key"

    @property
    def directory(self) -> str:
        """Where it is mounted."""
        return f"/var/run/secrets/robotgroups-{self.model}"


def api_keys(memory: Memory) -> tuple[ApiKey, ...]:
    """The keys that a group's models need."""
    models: dict[str, Embedding | Extraction] = {"embedding": memory.embedding, "extraction": memory.extraction}
    return tuple(
        ApiKey(name, model.api_key_secret_ref, model.base_url or OPENAI_URL)
        for name, model in models.items()
        if model.api_key_secret_ref is not None
    )


def key_problem(key: ApiKey, secret: Mapping[str, Any] | None, namespace: str) -> Problem | None:
    """Why a key cannot be used, with the remedy and never the key; None when it can. `secret` None: it is not there."""
    name, entry = key.reference.name, key.reference.key
    if secret is None:
        make = f"kubectl -n {namespace} create secret generic {name} --from-file={entry}=FILE"
        return Problem(KEY_MISSING, f"{key.field} names the Secret {name}, which is not there: make it ({make})")
    data = secret.get("data") or {}
    if entry not in data:
        there = ", ".join(sorted(data)) or "none"
        return Problem(
            KEY_MISSING, f"{key.field} names the key {entry}, which the Secret {name} lacks (it has: {there}): add it"
        )
    what = f"{entry} of the Secret {name} ({key.field})"
    try:
        usable = check_api_key(base64.b64decode(data[entry]).decode(), what)
    except (UnicodeDecodeError, ArgumentError):
        return Problem(KEY_MISSING, f"{what} is no text that a header can carry: put the key there alone")
    return None if usable else Problem(KEY_MISSING, f"{what} is empty: put the key there")


class KeyChecker:
    """Looks at the Secrets, by name: to list or to watch them is not the operator's right."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def check(self, memory: Memory, namespace: str) -> tuple[Problem, ...]:
        """What is wrong with a group's keys now. Raises ApiError when the API server is away."""
        found = [await self._problem(key, namespace) for key in api_keys(memory)]
        return tuple(problem for problem in found if problem is not None)

    async def _problem(self, key: ApiKey, namespace: str) -> Problem | None:
        try:
            secret = await self._api.get(Kind.SECRET, namespace, key.reference.name)
        except ApiError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            return Problem(KEY_MISSING, f"{key.field}: the Secret {key.reference.name} cannot be looked at: {error}")
        return key_problem(key, secret, namespace)
