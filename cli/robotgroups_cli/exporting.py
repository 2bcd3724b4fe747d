"""`robotgroups export`."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from typing import BinaryIO

import click

from robotgroups.errors import ArgumentError, RobotGroupsError
from robotgroups.models import GroupKey
from robotgroups.transfer import exporting
from robotgroups.transfer.format import End, Position, Tally, kind_of
from robotgroups_cli.bars import Bar
from robotgroups_cli.export_file import ExportFile, is_whole, part_of
from robotgroups_cli.options import Database, database_options, examples, group_options, naming
from robotgroups_cli.outcome import Command, SignalledError
from robotgroups_cli.running import run

STDOUT = Path("-")


@click.command(
    cls=Command,
    epilog=examples(
        "robotgroups export --group support --output support.jsonl",
        "robotgroups export --group support --output support.jsonl --resume",
        "robotgroups export --group support | gzip > support.jsonl.gz",
    ),
)
@group_options
@click.option(
    "--output",
    type=click.Path(allow_dash=True, dir_okay=False, writable=True, path_type=Path),
    default="-",
    show_default=True,
    help="The file; - is standard output. Until it is whole, it is FILE.part.",
)
@click.option("--embeddings", is_flag=True, help="Take the embeddings along: they are large, and can be made anew.")
@click.option("--resume", is_flag=True, help="Go on with an export into the same file that was interrupted.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option("--quiet", is_flag=True, help="No progress bar, no summary.")
@database_options
def export(  # noqa: PLR0917  the options of a command
    name: str,
    cluster: str,
    namespace_uid: str,
    output: Path,
    embeddings: bool,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    dsn_file: Path | None,
    dsn: str | None,
) -> None:
    """Write the memories of a group as JSON Lines.

    Each memory with its times and counts, scope, tags and metadata, with what it said before, its place in the
    working set and its pin, forgotten ones too; then what memories are related to, and which files were loaded. The
    last line has the counts and a checksum: without it, an export is not whole.

    Robots may go on meanwhile: what is remembered after the beginning is not in it.
    """
    database, key = Database(dsn_file, dsn), GroupKey(cluster, namespace_uid, name)
    if output == STDOUT:
        if resume:
            raise click.UsageError("--resume needs --output FILE: it goes on with that file")
        end: End | None = run(_to_stdout(database, key, sys.stdout.buffer, embeddings=embeddings, quiet=quiet))
    else:
        end = _to_file(database, key, output, embeddings=embeddings, resume=resume, overwrite=overwrite, quiet=quiet)
    if not quiet and end is not None:
        click.echo(_summary(name, end, output), err=True)


def _summary(name: str, end: End, output: Path) -> str:
    counts = end.counts
    assert counts is not None
    parts = [f"{counts.memories:,} memories"]
    for count, text in (
        (counts.versions, "earlier versions"),
        (counts.embeddings, "embeddings"),
        (counts.relations, "relations"),
        (counts.files, "loaded files"),
    ):
        if count:
            parts.append(f"{count:,} {text}")
    where = "" if output == STDOUT else f" to {output}"
    return f"exported {', '.join(parts)} of {name}{where}; content {end.content_sha256}"


async def _to_stdout(database: Database, key: GroupKey, out: BinaryIO, *, embeddings: bool, quiet: bool) -> End:
    tally = Tally()

    def write(lines: list[bytes]) -> None:
        for line in lines:
            tally.add(line, kind_of(line))
        out.write(b"".join(lines))
        out.flush()

    async with database.opened() as store:
        plan = await exporting.plan(store, await store.find_group(key), embeddings=embeddings)
        write([plan.header.line()])
        with Bar("exporting", plan.header.memories, quiet=quiet) as bar:
            async for page in exporting.pages(store, plan, Position()):
                await asyncio.to_thread(write, page)
                bar.at(tally.counts.memories)
    end = tally.end()
    out.write(end.line())
    out.flush()
    return end


def _to_file(
    database: Database, key: GroupKey, output: Path, *, embeddings: bool, resume: bool, overwrite: bool, quiet: bool
) -> End | None:
    part = part_of(output)
    if output.exists() and not part.exists() and resume:
        if is_whole(output):
            click.echo(f"{output} is whole: there is nothing to go on with", err=True)
            return None
        output.rename(part)  # it was written by other means, and interrupted
    if output.exists() and not overwrite:
        raise click.UsageError(f"{output} is there already: --overwrite replaces it")
    advice = f"go on with: {_again(key, output, embeddings=embeddings, overwrite=overwrite)}"
    try:
        return run(_write_file(database, key, output, embeddings=embeddings, resume=resume, quiet=quiet))
    except SignalledError as stopped:
        raise SignalledError(stopped.number, advice if part.exists() else "nothing was written") from None
    except RobotGroupsError as error:
        if part.exists() and not isinstance(error, ArgumentError):
            error.add_note(advice)
        raise


def _again(key: GroupKey, output: Path, *, embeddings: bool, overwrite: bool) -> str:
    words = ["robotgroups", "export", *naming(key), "--output", str(output), "--resume"]
    words += ["--embeddings"] if embeddings else []
    words += ["--overwrite"] if overwrite and output.exists() else []
    return shlex.join(words) + " (and the options for the database)"


async def _write_file(
    database: Database, key: GroupKey, output: Path, *, embeddings: bool, resume: bool, quiet: bool
) -> End:
    async with database.opened() as store:
        group_id = await store.find_group(key)
        plan = await exporting.plan(store, group_id, embeddings=embeddings)
        position, found = Position(), None
        if resume and part_of(output).exists():
            file, found = await asyncio.to_thread(ExportFile.resume, output)
        else:
            file = ExportFile.create(output)
        try:
            if found is None:
                file.write([plan.header.line()])
            else:
                position = found.position
                if embeddings != (found.header.model is not None):
                    raise ArgumentError("that export began with another --embeddings: begin anew, or say the same")
                plan = await exporting.resumed(store, group_id, found.header)
            with Bar("exporting", plan.header.memories, quiet=quiet) as bar:
                async for page in exporting.pages(store, plan, position):
                    file.write(page)
                    bar.at(file.tally.counts.memories)
            return file.finish()
        finally:
            file.close()
