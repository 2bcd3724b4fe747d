"""The ring: everybody is watched by exactly one."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from robotgroups.models import Peer
from robotgroups.ring import neighbour


def peer(name: str, doorbell: str = "10.0.0.1:8079") -> Peer:
    return Peer(name, uuid4(), 1, doorbell)


def watched_by(name: str, *others: str) -> str | None:
    found = neighbour(name, [peer(other) for other in others])
    return found.name if found else None


def test_each_watches_the_next_by_name_and_the_last_the_first() -> None:
    assert watched_by("a", "c", "b") == "b"
    assert watched_by("b", "a", "c") == "c"
    assert watched_by("c", "b", "a") == "a"


def test_two_watch_each_other_and_one_nobody() -> None:
    assert watched_by("a", "b") == "b"
    assert watched_by("b", "a") == "a"
    assert watched_by("a") is None


def test_who_has_no_doorbell_is_passed_over() -> None:
    found = neighbour("a", [peer("b", ""), peer("c")])
    assert found is not None
    assert found.name == "c"


@given(st.sets(st.text("abc", min_size=1, max_size=3), min_size=2, max_size=8))
def test_every_robot_is_watched_by_exactly_one_and_all_are_one_ring(names: set[str]) -> None:
    watches = {name: watched_by(name, *(names - {name})) for name in names}
    assert set(watches.values()) == names
    here, seen = min(names), set()
    while here not in seen:
        seen.add(here)
        here = str(watches[here])
    assert seen == names
