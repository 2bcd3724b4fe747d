"""`robotgroups export` and `import`: files, streams, refusals."""

import json
import os
import pty
import shlex
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest

from .conftest import LIMIT_S, Command, contents, contents_of, fill, interrupt, wait_until

TEXTS = [f"memory {n}" for n in range(40)]
Connection = psycopg.Connection[tuple[object, ...]]


def test_a_group_moves_by_a_file(command: Command, tmp_path: Path) -> None:
    fill(command.dsn, "support", TEXTS, updated=3)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    exported = command.good("export", "--group", "support", "--output", str(first))
    assert exported.out == ""
    assert exported.err.startswith(f"exported 40 memories, 1 earlier versions of support to {first}; content ")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    imported = command.good("import", "--group", "copy", "--create", str(first))
    assert (imported.out, imported.err) == (
        "",
        "imported 40 memories into copy: 40 new, 0 there already; 40 came into the working set\n",
    )
    again = command.good("export", "--group", "copy", "--output", str(second), "--quiet")
    assert (again.out, again.err) == ("", "")
    assert contents_of(first) == contents_of(second)
    assert end(first)["content_sha256"] == end(second)["content_sha256"]
    twice = command.good("import", "--group", "copy", str(first))
    assert twice.err == "imported 40 memories into copy: 0 new, 40 there already\n"
    assert command.good("check").out == "2 groups: sound\n"


def end(path: Path) -> dict[str, object]:
    last = json.loads(path.read_text().splitlines()[-1])
    assert isinstance(last, dict)
    return last


def test_a_group_moves_by_a_pipe(command: Command) -> None:
    fill(command.dsn, "support", TEXTS)
    exported = command.good("export", "--group", "support").out
    assert exported.splitlines()[0].startswith('{"type":"header"')
    imported = command.good("import", "--group", "copy", "--create", "-", stdin=exported)
    assert "40 new" in imported.err
    assert contents(command.good("export", "--group", "copy").out.splitlines()) == contents(exported.splitlines())


def test_the_settings_come_along_when_the_group_is_made(command: Command, connection: Connection) -> None:
    fill(command.dsn, "support", TEXTS)
    connection.execute("UPDATE robotgroups.groups SET max_tokens = 321, eviction = 'lru', keep_memories = 1000")
    exported = command.good("export", "--group", "support", "--quiet").out
    key = ["--cluster", "c", "--namespace-uid", "n"]
    command.good("import", "--group", "copy", *key, "--create", "-", stdin=exported)
    assert connection.execute(
        "SELECT max_tokens, eviction, keep_memories, working_memory_tokens FROM robotgroups.groups "
        "WHERE (cluster, namespace_uid, name) = ('c', 'n', 'copy')"
    ).fetchall() == [(321, "lru", 1000, 120)]


def test_embeddings_go_along_when_they_are_asked_for(command: Command, connection: Connection) -> None:
    fill(command.dsn, "support", ["one", "two"])
    refused = command.run("export", "--group", "support", "--embeddings")
    assert refused.code == 2
    assert "group support has no embeddings to export: it has no embedding model" in refused.err
    connection.execute(
        "WITH model AS (INSERT INTO robotgroups.embedding_models (space_id, provider, model, dimensions, config) "
        "VALUES (1, 'openai', 'm', 2, '{}') RETURNING id), "
        "chosen AS (UPDATE robotgroups.spaces SET serving_model = m.id, target_model = m.id FROM model m) "
        "INSERT INTO robotgroups.embeddings (model_id, memory_id, embedding) SELECT m.id, 1, '[0.1,2]' FROM model m"
    )
    lines = command.good("export", "--group", "support", "--embeddings", "--quiet").out.splitlines()
    assert json.loads(lines[0])["model"] == {"provider": "openai", "model": "m", "dimensions": 2}
    assert lines[2] == '{"type":"embedding","vector":[0.1,2]}'
    assert "embedding" not in [
        json.loads(line)["type"] for line in command.good("export", "--group", "support").out.splitlines()
    ]


def test_a_dry_run_checks_and_does_nothing(command: Command, tmp_path: Path) -> None:
    fill(command.dsn, "support", TEXTS)
    file = tmp_path / "support.jsonl"
    command.good("export", "--group", "support", "--output", str(file))
    ended = command.good("import", "--group", "copy", "--create", "--dry-run", str(file))
    assert ended.err == f"{file} can be imported: 40 memories, 0 relations, 0 loaded files\n"
    missing = command.run("import", "--group", "copy", "--dry-run", str(file))
    assert missing.code == 2
    assert "--create makes it, with the settings of the export" in missing.err
    edit(file, 5, content="")
    wrong = command.run("import", "--group", "copy", "--create", "--dry-run", "--no-verify", str(file))
    assert (wrong.code, wrong.err) == (1, "Error: line 5: content must not be blank\n")


def edit(file: Path, number: int, **changes: object) -> None:
    """Change a line of a file by hand."""
    lines = file.read_text().splitlines(keepends=True)
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | changes) + "\n"
    file.write_text("".join(lines))


def test_an_export_that_was_changed_is_refused_unless_one_says_so(command: Command, tmp_path: Path) -> None:
    fill(command.dsn, "support", TEXTS)
    file = tmp_path / "support.jsonl"
    command.good("export", "--group", "support", "--output", str(file))
    edit(file, 5, content="edited")
    refused = command.run("import", "--group", "copy", "--create", str(file))
    assert refused.code == 1
    assert "its checksum is not that of its lines" in refused.err
    assert "40 new" in command.good("import", "--group", "copy", "--create", "--no-verify", str(file)).err
    file.write_bytes(file.read_bytes()[:-200])
    cut = command.run("import", "--group", "copy", str(file))
    assert cut.code == 1
    assert "it is not whole" in cut.err


def test_a_bad_line_of_many_is_named_with_how_to_go_on(command: Command, tmp_path: Path) -> None:
    fill(command.dsn, "support", [f"memory {n}" for n in range(600)])
    file = tmp_path / "support.jsonl"
    command.good("export", "--group", "support", "--output", str(file))
    edit(file, 400, created_at="yesterday")
    ended = command.run("import", "--group", "copy", "--create", "--no-verify", str(file))
    assert ended.code == 1
    first, advice = ended.err.splitlines()
    assert first.startswith("Error: line 400: created_at must be a time with its zone, such as ")
    assert advice.startswith("lines up to 251 are imported; go on with: robotgroups import --group copy --resume ")
    edit(file, 400, created_at="2026-01-01T00:00:00Z")
    rest = command.good("import", "--group", "copy", "--resume", "--no-verify", str(file))
    assert rest.err.startswith("imported 350 memories into copy (from line 252 on): 350 new")


def test_how_to_go_on_names_the_group_in_full(command: Command, tmp_path: Path) -> None:
    fill(command.dsn, "support", [f"memory {n}" for n in range(600)])
    file, before, after = tmp_path / "in.jsonl", "go on with: robotgroups ", " (and the options for the database)"
    command.good("export", "--group", "support", "--output", str(file))
    edit(file, 400, created_at="yesterday")
    group = ["--group", "copy", "--cluster", "a cluster", "--namespace-uid", "uid-1"]
    ended = command.run("import", *group, "--create", "--no-verify", str(file))
    advice = ended.err.splitlines()[-1].partition(before)[2].removesuffix(after)
    assert advice == f"import --group copy --cluster 'a cluster' --namespace-uid uid-1 --resume --no-verify {file}"
    edit(file, 400, created_at="2026-01-01T00:00:00Z")
    assert "350 new" in command.good(*shlex.split(advice)).err
    # an export that is interrupted while it replaces a file
    part = tmp_path / "in.jsonl.part"
    with psycopg.connect(command.dsn) as blocking:
        blocking.execute("LOCK TABLE robotgroups.memory_versions IN ACCESS EXCLUSIVE MODE")
        process = command.start("export", *group, "--output", str(file), "--overwrite")
        wait_until(part.exists, process)
        stopped = interrupt(process)
    advice = stopped.err.splitlines()[-1].partition(before)[2].removesuffix(after)
    assert advice == (
        f"export --group copy --cluster 'a cluster' --namespace-uid uid-1 --output {file} --resume --overwrite"
    )
    command.good(*shlex.split(advice))
    assert (len(contents_of(file)), part.exists()) == (600, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "Missing option '--group'"),
        (["export", "--group", "nobody"], "no group nobody in namespace default"),
        (["export", "--group", "support", "--resume"], "--resume needs --output FILE"),
        (["export", "--group", "support", "--output", "{there}"], "is there already: --overwrite replaces it"),
        (["export", "--group", "support", "--output", "{tmp}/no/such"], "No such file or directory"),
        (["import", "--group", "support", "{tmp}/missing"], "does not exist"),
        (["import", "--group", "support", "--no-verify", "{there}"], "line 1: it is no JSON"),
        (["nonsense"], "No such command"),
    ],
)
def test_what_cannot_be_done_is_refused(command: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    fill(command.dsn, "support", ["one"])
    there = tmp_path / "there"
    there.write_text("something")
    ended = command.run(*(a.format(there=there, tmp=tmp_path) for a in arguments))
    assert ended.code in {1, 2}
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert there.read_text() == "something"


def test_a_file_is_replaced_when_one_says_so(command: Command, tmp_path: Path) -> None:
    fill(command.dsn, "support", ["one"])
    file = tmp_path / "support.jsonl"
    file.write_text("something")
    command.good("export", "--group", "support", "--output", str(file), "--overwrite")
    assert len(contents_of(file)) == 1


def test_who_reads_only_the_beginning_does_no_harm(command: Command) -> None:
    fill(command.dsn, "support", [f"{n} " + "word " * 200 for n in range(2000)])
    with command.start("export", "--group", "support", "--quiet") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"type":"header"')
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(LIMIT_S) == 1
    assert said == ""


def test_on_a_terminal_there_is_a_progress_bar(dsn: str, tmp_path: Path) -> None:
    command = Command(dsn, {"TERM": "xterm", "COLUMNS": "80"})
    fill(dsn, "support", TEXTS)
    file = tmp_path / "support.jsonl"
    assert "exporting" in on_terminal(command, "export", "--group", "support", "--output", str(file))
    said = on_terminal(command, "import", "--group", "copy", "--create", str(file))
    assert "checking" in said
    assert "importing" in said
    quiet = ["--quiet", "--group", "copy"]
    assert on_terminal(command, "export", *quiet, "--output", str(tmp_path / "copy.jsonl")) == ""


def on_terminal(command: Command, *arguments: str) -> str:
    """What a command says on a terminal."""
    ours, theirs = pty.openpty()
    process = command.start(*arguments, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(LIMIT_S) == 0
    return said.decode()
