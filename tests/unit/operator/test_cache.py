"""What was seen last, whatever the order in which it was told."""

from typing import Any

from robotgroups_operator.cache import Cache, GroupRef
from robotgroups_operator.names import Kind

TEAM = GroupRef("shop", "team")


def pod(name: str, version: int, *, uid: str = "", group: str | None = "team") -> dict[str, Any]:
    labels = {"robotgroups.dev/group": group} if group else {}
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": uid or name,
            "resourceVersion": str(version),
            "labels": labels,
        }
    }


def test_newer_replaces_older() -> None:
    cache = Cache()
    assert cache.put(Kind.POD, pod("a", 5))
    assert not cache.put(Kind.POD, pod("a", 4))
    assert not cache.put(Kind.POD, pod("a", 5))
    assert cache.put(Kind.POD, pod("a", 10))  # as numbers, not as text
    assert cache.of_group(Kind.POD, TEAM) == (pod("a", 10),)


def test_groups_are_told_apart_by_label_and_resources_by_name() -> None:
    cache = Cache()
    cache.put(Kind.POD, pod("a", 1, group="else"))
    cache.put(Kind.POD, pod("b", 1, group=None))
    assert cache.of_group(Kind.POD, TEAM) == ()
    cache.put(Kind.ROBOT_GROUP, pod("team", 1, group=None))
    assert list(cache.groups()) == [TEAM]


def test_what_has_ended_does_not_come_back_with_an_old_list() -> None:
    cache = Cache()
    cache.put(Kind.POD, pod("a", 5))
    assert cache.remove(Kind.POD, pod("a", 6))
    cache.replace(Kind.POD, [pod("a", 5)], "5")
    assert cache.of_group(Kind.POD, TEAM) == ()


def test_what_left_the_selector_may_return() -> None:
    cache = Cache()
    cache.put(Kind.POD, pod("a", 5))
    cache.remove(Kind.POD, pod("a", 6))
    assert cache.put(Kind.POD, pod("a", 7))


def test_the_end_of_an_older_object_of_this_name_is_not_the_newer_ones() -> None:
    cache = Cache()
    cache.put(Kind.POD, pod("a", 5, uid="new"))
    assert not cache.remove(Kind.POD, pod("a", 4, uid="old"))
    assert cache.get(Kind.POD, "shop", "a") == pod("a", 5, uid="new")


def test_a_list_heals_what_a_watch_has_lost() -> None:
    cache = Cache()
    cache.put(Kind.POD, pod("lost", 3))
    cache.put(Kind.POD, pod("newer", 12))
    changed = cache.replace(Kind.POD, [pod("kept", 4)], "10")
    assert changed == {TEAM}
    assert [body["metadata"]["name"] for body in cache.of_group(Kind.POD, TEAM)] == ["kept", "newer"]
    assert cache.replace(Kind.POD, [pod("kept", 4)], "11") == set()


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    cache = Cache()
    cache.put(Kind.POD, pod("a", 3))
    cache.replace(Kind.POD, [], "10", namespace="else")
    assert len(cache.of_group(Kind.POD, TEAM)) == 1
