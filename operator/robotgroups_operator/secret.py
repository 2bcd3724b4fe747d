"""Keeps a group's Secret: the DSN of its own login and the token of its API. Neither is ever logged."""

import secrets
from typing import Any

from robotgroups.store import Store, password_of, robot_dsn
from robotgroups_operator.api import KubernetesApi
from robotgroups_operator.apply import Applied, Applier
from robotgroups_operator.children import Apply, Ownership, ownership
from robotgroups_operator.drift import differences
from robotgroups_operator.manifests.access import CA_KEY, Credentials, read_credentials, secret
from robotgroups_operator.manifests.identity import Group
from robotgroups_operator.names import SECRETS_PATH, Kind, secret_name

JsonObject = dict[str, Any]
TOKEN_BYTES = 32


class SecretKeeper:
    """One group's Secret, and what was last in it: a deleted Secret comes back with the same contents."""

    def __init__(self, api: KubernetesApi, applier: Applier) -> None:
        self._api = api
        self._applier = applier
        self._credentials: Credentials | None = None
        self._login: str | None = None
        self._password: str | None = None
        self._found: JsonObject | None = None
        self.exists = False

    async def look(self, group: Group) -> None:
        """Reads the Secret, so that robots that have one can be run without Postgres. Raises ApiError."""
        self._found = await self._api.get(Kind.SECRET, group.identity.namespace, secret_name(group.identity.name))
        self.exists = self._found is not None and ownership(self._found, group) is Ownership.OURS
        if self.exists and self._found is not None and (credentials := read_credentials(self._found)):
            self._credentials = credentials

    async def ensure(self, group: Group, group_id: int, store: Store, ca: str | None) -> Applied:
        """Makes the login and the Secret, or puts them back, after `look`. Raises ApiError, RobotGroupsError.

        `ca`: the certificates (PEM) that robots check Postgres' own against.
        """
        known = self._credentials
        password = (known and password_of(known.dsn)) or secrets.token_urlsafe(TOKEN_BYTES)
        if self._login is None or password != self._password:
            self._login, self._password = await store.ensure_login(group_id, password), password
        dsn = robot_dsn(store.dsn, self._login, password, ca_file=f"{SECRETS_PATH}/{CA_KEY}" if ca else None)
        token = known.token if known else secrets.token_urlsafe(TOKEN_BYTES)
        wanted = Credentials(dsn, token, ca)
        self._credentials = wanted
        manifest = secret(group.identity, wanted)
        if self._found is not None and not differences(manifest, self._found):
            return Applied()
        step = Apply(Kind.SECRET, manifest, "missing or changed", self._found)
        applied = await self._applier.children(group, [step])
        self.exists = not applied.problems and not applied.pending
        return applied

    def forget_login(self) -> None:
        """The login may be gone: make it again next time."""
        self._login = None
