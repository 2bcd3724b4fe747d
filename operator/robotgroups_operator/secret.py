"""Keeps a group's Secret: the DSN of its own login and the token of its API. Neither is ever logged."""

import secrets
from dataclasses import dataclass, field
from typing import Any

import structlog

from robotgroups.models import GroupStatus, RotationEnd
from robotgroups.store import Store, password_of, robot_dsn
from robotgroups_operator.api import KubernetesApi
from robotgroups_operator.apply import Applied, Applier
from robotgroups_operator.children import Apply, Ownership, ownership
from robotgroups_operator.drift import differences
from robotgroups_operator.manifests.access import CA_KEY, Credentials, read_credentials, secret
from robotgroups_operator.manifests.identity import Group
from robotgroups_operator.names import SECRETS_PATH, Kind, secret_name
from robotgroups_operator.rotation import LoginAction, login_marks, next_step

log = structlog.get_logger(__name__)

JsonObject = dict[str, Any]
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Login:
    """A login that Postgres has. `rotated`: it was made beside another one, and robots have to come over to it."""

    name: str
    password: str = field(repr=False)
    rotated: bool = False


async def take_login(
    store: Store, group_id: int, known: Credentials | None, requested: str | None, *, in_use: bool
) -> Login | None:
    """Brings about the login that the Secret is to hold; None: the one that is asked for has to wait.

    `known` is what the Secret holds, `requested` what rotation is asked for, `in_use` whether robots live. Whoever is
    interrupted before he has written the Secret does it again. Raises RobotGroupsError.
    """
    step = next_step(known, requested, *await store.logins(group_id), in_use=in_use)
    if step.action is LoginAction.WAIT:
        return None
    password = password_of(known.dsn) if known is not None and step.action is LoginAction.ENSURE else None
    password = password or secrets.token_urlsafe(TOKEN_BYTES)
    if step.action is LoginAction.ROTATE:
        return Login(await store.rotate_login(group_id, step.old, password), password, rotated=True)
    return Login(await store.ensure_login(group_id, password), password)


class SecretKeeper:
    """One group's Secret, and what was last in it: a deleted Secret comes back with the same contents."""

    def __init__(self, api: KubernetesApi, applier: Applier) -> None:
        self._api = api
        self._applier = applier
        self._credentials: Credentials | None = None
        self._login: Login | None = None
        self._found: JsonObject | None = None
        self.exists = False
        self.rotating = False
        """Whether the previous login may still be there."""

    @property
    def marks(self) -> tuple[tuple[str, str], ...]:
        """The annotations of pods that start with what the Secret holds."""
        return login_marks(self._credentials)

    def answers(self, requested: str | None) -> bool:
        """Whether the Secret holds what was asked for last."""
        known = self._credentials
        return self.exists and known is not None and requested in (None, known.rotation)

    async def look(self, group: Group) -> None:
        """Reads the Secret, so that robots that have one can be run without Postgres. Raises ApiError."""
        self._found = await self._api.get(Kind.SECRET, group.identity.namespace, secret_name(group.identity.name))
        self.exists = self._found is not None and ownership(self._found, group) is Ownership.OURS
        if self.exists and self._found is not None and (credentials := read_credentials(self._found)):
            first_look, self._credentials = self._credentials is None, credentials
            # whoever looked before may have been interrupted
            self.rotating = self.rotating or (first_look and bool(self.marks))

    async def ensure(
        self, group: Group, memory: GroupStatus, store: Store, ca: str | None, requested: str | None
    ) -> tuple[Applied, str | None]:
        """Makes the login and the Secret, or puts them back, after `look`; rotates the login when that is `requested`.

        Returns what came of it, with the new login's name when robots have to come over to it. `ca`: the certificates
        (PEM) that robots check Postgres' own against. Raises ApiError, RobotGroupsError.
        """
        known, rotated = self._credentials, None
        password = password_of(known.dsn) if known else None
        if self._login is None or self._login.password != password or not self.answers(requested):
            in_use = any(robot.live for robot in memory.robots)
            login = await take_login(store, memory.id, known, requested, in_use=in_use)
            if login is None:
                return Applied(pending=("another rotation of the login begins when this one is finished",)), None
            self._login, rotated = login, login.name if login.rotated else None
            self.rotating = self.rotating or login.rotated
        wanted = self._wanted(store.dsn, self._login, ca, requested)
        self._credentials = wanted
        manifest = secret(group.identity, wanted)
        if self._found is not None and not differences(manifest, self._found):
            return Applied(), rotated
        step = Apply(Kind.SECRET, manifest, "missing or changed", self._found)
        applied = await self._applier.children(group, [step])
        self.exists = not applied.problems and not applied.pending
        return applied, rotated if self.exists else None

    def _wanted(self, owner_dsn: str, login: Login, ca: str | None, requested: str | None) -> Credentials:
        known = self._credentials
        dsn = robot_dsn(owner_dsn, login.name, login.password, ca_file=f"{SECRETS_PATH}/{CA_KEY}" if ca else None)
        token = known.token if known else secrets.token_urlsafe(TOKEN_BYTES)
        return Credentials(dsn, token, ca, requested or (known.rotation if known else None))

    async def finish_rotation(self, group_id: int, store: Store) -> RotationEnd:
        """Takes the previous login away, unless a robot still works under it. Raises RobotGroupsError."""
        end = await store.finish_rotation(group_id)
        if not end.waiting:
            self.rotating = False
        if end.dropped:
            log.info("login rotated", group_id=group_id, dropped=end.dropped)
        return end

    def forget_login(self) -> None:
        """The login may be gone: make it again next time."""
        self._login = None
