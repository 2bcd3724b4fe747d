"""`robotgroups import`."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from robotgroups.errors import RobotGroupsError, UnknownGroupError
from robotgroups.models import GroupKey
from robotgroups.store import Store
from robotgroups.transfer.batches import batches
from robotgroups.transfer.format import Header
from robotgroups.transfer.group_settings import settings_of
from robotgroups.transfer.importing import Done, Reader, check_whole, import_lines
from robotgroups_cli.bars import Bar
from robotgroups_cli.import_file import STDIN, opened
from robotgroups_cli.options import Database, database_options, examples, group_options, naming
from robotgroups_cli.outcome import Command, SignalledError
from robotgroups_cli.running import run


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the options say."""

    create: bool
    resume: bool
    dry_run: bool
    long_term_only: bool
    verify: bool
    quiet: bool


@click.command(
    "import",
    cls=Command,
    epilog=examples(
        "robotgroups import --group support support.jsonl",
        "robotgroups import --group support --create support.jsonl",
        "robotgroups import --group support --resume support.jsonl",
        "gunzip -c support.jsonl.gz | robotgroups import --group support -",
    ),
)
@group_options
@click.argument("file", type=click.Path(exists=True, allow_dash=True, dir_okay=False, path_type=Path))
@click.option("--create", is_flag=True, help="Make the group, with the settings of the export, if it is not there.")
@click.option("--resume", is_flag=True, help="Go on with an import of the same export that was interrupted.")
@click.option("--dry-run", is_flag=True, help="Check every line, and whether the group is there; import nothing.")
@click.option("--long-term-only", is_flag=True, help="Bring nothing into the working set.")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Whether the export must have its last line and the right checksum. Without: one that was edited, or cut off.",
)
@click.option("--quiet", is_flag=True, help="No progress bar, no summary.")
@database_options
def import_(  # noqa: PLR0917  the options of a command
    name: str,
    cluster: str,
    namespace_uid: str,
    file: Path,
    create: bool,
    resume: bool,
    dry_run: bool,
    long_term_only: bool,
    verify: bool,
    quiet: bool,
    dsn_file: Path | None,
    dsn: str | None,
) -> None:
    """Bring an export (FILE, or - for standard input) into a group.

    Memories keep their times, counts, scope and history; what was forgotten stays forgotten. What the group has
    already (the same content in the same scope) stays as it is: to import twice does no harm. What was in the working
    set comes into this one, within its budget. Embeddings are taken when the group has the same model, else made anew.

    Some hundred memories are one transaction. The login must be the owner of the schema.
    """
    wishes = _Wishes(create, resume, dry_run, long_term_only, verify, quiet)
    key = GroupKey(cluster, namespace_uid, name)
    state = Done()
    advice = f"go on with: {_again(key, file, wishes)} (and the options for the database)"
    try:
        done = run(_import(Database(dsn_file, dsn), key, file, wishes, state))
    except SignalledError as stopped:
        told = f"{_so_far(state)}; {advice}" if state.line else "nothing was imported"
        raise SignalledError(stopped.number, told) from None
    except RobotGroupsError as error:
        if state.line:
            error.add_note(f"{_so_far(state)}; {advice}")
        raise
    if not quiet:
        click.echo(f"{file} can be imported: {_checked(done)}" if dry_run else _summary(name, done), err=True)


def _again(key: GroupKey, file: Path, wishes: _Wishes) -> str:
    words = ["robotgroups", "import", *naming(key), "--resume"]
    words += ["--long-term-only"] if wishes.long_term_only else []
    words += [] if wishes.verify else ["--no-verify"]
    return shlex.join([*words, str(file)])


def _so_far(done: Done) -> str:
    return f"lines up to {done.line:,} are imported"


def _checked(done: Done) -> str:
    return f"{done.memories:,} memories, {done.relations:,} relations, {done.files:,} loaded files"


def _summary(name: str, done: Done) -> str:
    after = f" (from line {done.resumed_after + 1:,} on)" if done.resumed_after else ""
    known = done.memories - done.created - done.expired
    parts = [f"imported {done.memories:,} memories into {name}{after}: {done.created:,} new, {known:,} there already"]
    for count, text in (
        (done.expired, "left out, as they have expired"),
        (done.entered, "came into the working set"),
        (done.no_room, "had no room in the working set beside what is pinned"),
        (done.embedded, "embeddings"),
        (done.relations_created, "relations"),
        (done.relations_missing, "relations left out, as one of their memories is not there"),
        (done.files_created, "loaded files"),
        (done.files_partial, "of them lack a part, and are taken in full when they are loaded again"),
    ):
        if count:
            parts.append(f"{count:,} {text}")
    return "; ".join(parts)


async def _import(database: Database, key: GroupKey, file: Path, wishes: _Wishes, state: Done) -> Done:
    if wishes.verify and file != STDIN:
        await _check_whole(file, quiet=wishes.quiet)
    with opened(file) as source:
        reader = Reader(source.lines, whole=wishes.verify)
        async with database.opened() as store:
            group_id = await _group(store, key, reader.header, wishes)
            total = source.size or reader.header.memories or None
            with Bar("importing", total, quiet=wishes.quiet, in_bytes=source.size is not None) as bar:

                def tell(done: Done) -> None:
                    bar.at(done.memories if source.size is None else source.at())

                if wishes.dry_run:
                    return await asyncio.to_thread(_check_lines, reader, tell)
                return await import_lines(
                    store,
                    group_id,
                    reader,
                    resume=wishes.resume,
                    working_memory=not wishes.long_term_only,
                    done=state,
                    tell=tell,
                )


async def _check_whole(file: Path, *, quiet: bool) -> None:
    with opened(file) as source, Bar("checking", source.size, quiet=quiet, in_bytes=True) as bar:

        def watched() -> Iterator[bytes]:
            for number, line in enumerate(source.lines):
                if number % 1000 == 0:
                    bar.at(source.at())
                yield line

        await asyncio.to_thread(check_whole, watched())


def _check_lines(reader: Reader, tell: Callable[[Done], None]) -> Done:
    done = Done()
    tokenizer = reader.header.settings.get("tokenizer", "cl100k_base")
    for batch in batches(reader.lines(), tokenizer, reader.header.model):
        done.count(batch)
        tell(done)
    return done


async def _group(store: Store, key: GroupKey, header: Header, wishes: _Wishes) -> int:
    try:
        return await store.find_group(key)
    except UnknownGroupError as error:
        if not wishes.create:
            error.add_note("--create makes it, with the settings of the export")
            raise
    settings = settings_of(header)
    return 0 if wishes.dry_run else await store.ensure_group(key, settings)
