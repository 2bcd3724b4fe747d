"""Relations, tags and files by the SDK, synchronously, with robots in this process that keep up with all of it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from robotgroups import RobotGroup
from robotgroups.errors import UnknownMemoryError
from robotgroups.tagging import TagCount

LIMIT_S = 15


@pytest.fixture
def group(dsn: str) -> Iterator[RobotGroup]:
    with RobotGroup(name="related", active=["a"], passive=["b"], max_tokens=8000, dsn=dsn) as group:
        yield group


def test_relations_and_tags(group: RobotGroup) -> None:
    one, two = group.remember("one", tags=["db:postgres"]), group.remember("two", originator="b")
    assert group.relate(one, two, "supports", 0.5)
    (found,) = group.related(two)
    assert (found.memory.id, found.weight, found.kinds) == (one, 0.5, ("supports",))
    assert group.tag(two, "db:sqlite").tags == ("db:sqlite",)
    assert group.tags() == [TagCount("db:postgres", 1), TagCount("db:sqlite", 1)]
    assert group.tag_tree().mapping() == {"db": {"postgres": {}, "sqlite": {}}}
    assert [m.tag for m in group.find_tags("sqlte")] == ["db:sqlite"]
    assert group.untag(two, "db:sqlite").tags == ()
    assert group.unrelate(one, two, "supports")
    assert group.related(one, kinds=["supports"]) == []
    with pytest.raises(UnknownMemoryError):
        group.relate(one, 999, "supports")


def test_every_cache_hears_of_tags(group: RobotGroup) -> None:
    one = group.remember("one")
    group.tag(one, "heard")
    group.sync_all()
    hosted = group._group._hosted
    assert {robot.name: robot.cache.memories[one].tags for robot in hosted} == {
        "a": ("heard",),
        "b": ("heard",),
    }


def test_files(group: RobotGroup, tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text("# Guide\n\nWhat it is.\n\n## Use\n\nUse it.\n")
    done = group.load_file(tmp_path / "guide.md")
    assert (done.changed, done.added) == (True, 2)
    assert not group.load_directory(tmp_path).changed
    end = time.monotonic() + LIMIT_S
    while not (found := group.recall("use")):
        assert time.monotonic() < end
    assert [m.content for m in found] == ["## Use\n\nUse it."]
    assert group.working_memory() == []
    assert group.load_text("kb://1", "# One\n\nOne.").added == 1
    assert [f.path for f in group.files()] == [str(tmp_path / "guide.md"), "kb://1"]
    assert group.unload_file(tmp_path / "guide.md").removed == 2
    assert group.unload_file("kb://1").removed == 1
    assert group.files() == []
    assert group.status()["in_sync"]


def test_a_relative_path_is_one_of_this_machine(
    group: RobotGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("guide.md").write_text("# Guide\n\nWhat it is.\n")
    assert group.load_file("guide.md").path == str(tmp_path / "guide.md")
    assert group.unload_file("guide.md").removed == 1
