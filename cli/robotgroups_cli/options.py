"""Options that commands share: which database, which group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from robotgroups.dsn import VARIABLE, place_of, resolve_dsn
from robotgroups.errors import MemoryUnavailableError, NotPermittedError, SetupError
from robotgroups.group import LOCAL_CLUSTER, LOCAL_NAMESPACE
from robotgroups.models import GroupKey
from robotgroups.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def examples(*lines: str) -> str:
    """What a command's help ends with."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@dataclass(frozen=True, slots=True)
class Database:
    """Which database: a DSN in a file or in words; neither is ROBOTGROUPS_DSN, else the embedded Postgres."""

    file: Path | None
    given: str | None

    async def dsn(self) -> str:
        """The DSN; starts the embedded Postgres when none is named."""
        return await asyncio.to_thread(resolve_dsn, self._named())

    def _named(self) -> str | None:
        if self.file is None:
            return self.given
        if self.given is not None:
            raise click.UsageError("give --dsn-file or --dsn, not both")
        text = self.file.read_text(encoding="utf-8").strip()
        if not text or "\n" in text:
            raise click.UsageError(f"{self.file} must hold one line, the DSN")
        return text

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """The store of this database, whose schema must be up to date."""
        dsn = await self.dsn()
        try:
            async with await Store.open(dsn, application_name="robotgroups cli") as store:
                yield store
        except NotPermittedError as error:
            error.add_note(f"database: {place_of(dsn)}; the login must be the owner of its schema robotgroups")
            raise
        except (MemoryUnavailableError, SetupError) as error:
            error.add_note(f"database: {place_of(dsn)}")
            raise


def database_options(command: F) -> F:
    """--dsn-file and --dsn, as `file` and `dsn`; `database` makes a Database of them."""
    command = click.option(
        "--dsn",
        metavar="DSN",
        help="The DSN itself. Everybody on this machine can read it while the command runs: with a password in it, "
        f"use --dsn-file or {VARIABLE}.",
    )(command)
    return click.option(
        "--dsn-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"A file with the DSN of the schema's owner. Without it: {VARIABLE}, else the embedded Postgres of "
        "this user.",
    )(command)


def naming(key: GroupKey) -> list[str]:
    """The options that name a group; what ``group_options`` adds by itself is left out."""
    words = ["--group", key.name]
    words += [] if key.cluster == LOCAL_CLUSTER else ["--cluster", key.cluster]
    return words + ([] if key.namespace_uid == LOCAL_NAMESPACE else ["--namespace-uid", key.namespace_uid])


def group_options(command: F) -> F:
    """--group, --cluster and --namespace-uid."""
    command = click.option(
        "--namespace-uid",
        default=LOCAL_NAMESPACE,
        show_default=True,
        help="UID of the group's namespace (kubectl get namespace NAME -o jsonpath={.metadata.uid}).",
    )(command)
    command = click.option(
        "--cluster",
        default=LOCAL_CLUSTER,
        show_default=True,
        help="UID of the group's cluster, which is that of its namespace kube-system.",
    )(command)
    return click.option("--group", "name", required=True, metavar="NAME", help="The group's name.")(command)
