"""Relevance: each part's range and direction, the mix, the order."""

import math
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.errors import ArgumentError
from robotgroups.relevance import Candidate, Relevance, Weights, rank, scaled, score

NOW = datetime(2026, 7, 15, tzinfo=UTC)
WEEK = timedelta(days=7)

tag = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(":".join)
tag_sets = st.lists(tag, max_size=4).map(tuple)
candidates = st.builds(
    Candidate,
    id=st.integers(1, 50),
    similarity=st.none() | st.floats(-1, 1),
    remembered_at=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    access_count=st.integers(0, 10**9),
    tags=tag_sets,
)
share = st.floats(0, 100)
weights = st.tuples(share, share, share, share).filter(any).map(lambda w: Weights(*w))


def test_the_parts_and_their_mix() -> None:
    candidate = Candidate(1, 0.8, NOW - WEEK, access_count=10, tags=("a:b",))
    access = math.log(11) / (1 + math.log(11))
    expected = Relevance(
        total=0.5 * 0.8 + 0.3 / 3 + 0.1 * 0.5 + 0.1 * access, similarity=0.8, tags=1 / 3, recency=0.5, access=access
    )
    assert astuple(score(candidate, ["a:c"], NOW)) == pytest.approx(astuple(expected))


@pytest.mark.parametrize(
    ("candidate", "query_tags", "expected"),
    [
        (Candidate(1, None, NOW), [], Relevance(0.5 * 0.5 + 0.3 * 0.5 + 0.1, 0.5, 0.5, 1.0, 0.0)),
        (Candidate(1, 1.0, NOW, tags=("a",)), ["a"], Relevance(0.9, 1.0, 1.0, 1.0, 0.0)),
        (Candidate(1, 1.0, NOW), ["a"], Relevance(0.6, 1.0, 0.0, 1.0, 0.0)),
        (Candidate(1, -0.4, NOW + WEEK), [], Relevance(0.25, 0.0, 0.5, 1.0, 0.0)),
        (Candidate(1, 1.0 + 1e-7, NOW), [], Relevance(0.75, 1.0, 0.5, 1.0, 0.0)),
    ],
)
def test_what_is_not_known_is_neutral(candidate: Candidate, query_tags: list[str], expected: Relevance) -> None:
    assert astuple(score(candidate, query_tags, NOW)) == pytest.approx(astuple(expected))


def test_the_documented_values_of_access() -> None:
    parts = [score(Candidate(1, 0.0, NOW, access_count=n), [], NOW).access for n in (0, 1, 10, 100)]
    assert [round(part, 2) for part in parts] == [0.0, 0.41, 0.71, 0.82]


def test_the_half_life_is_half() -> None:
    day = Weights(half_life_hours=24)
    ages = [score(Candidate(1, 0.0, NOW - timedelta(days=n)), [], NOW, day).recency for n in range(4)]
    assert ages == [1.0, 0.5, 0.25, 0.125]


def test_weights_are_relative() -> None:
    candidate = Candidate(1, 0.3, NOW - WEEK, 3, ("a",))
    default = score(candidate, ["a"], NOW)
    tenfold = score(candidate, ["a"], NOW, Weights(5, 3, 1, 1))
    assert tenfold.total == pytest.approx(default.total)
    assert score(candidate, ["a"], NOW, Weights(1, 0, 0, 0)).total == 0.3


def test_rare_tags_weigh_more_when_told() -> None:
    candidate = Candidate(1, 0.0, NOW, tags=("rare", "x"))
    assert score(candidate, ["rare", "y"], NOW, tag_weights={"rare": 8.0, "x": 1.0, "y": 1.0}).tags == 0.8


@given(candidates, tag_sets, weights)
def test_every_part_and_the_total_are_shares(candidate: Candidate, tags: tuple[str, ...], mix: Weights) -> None:
    relevance = score(candidate, tags, NOW, mix)
    assert all(0.0 <= part <= 1.0 for part in astuple(relevance))
    parts = astuple(relevance)[1:]
    assert min(parts) - 1e-9 <= relevance.total <= max(parts) + 1e-9
    assert score(candidate, tags[::-1], NOW, mix) == relevance


@given(candidates, tag_sets, weights, st.data())
def test_more_of_one_thing_is_never_less_relevant(
    candidate: Candidate, tags: tuple[str, ...], mix: Weights, data: st.DataObject
) -> None:
    known = candidate.similarity if candidate.similarity is not None else 0.0
    base = replace(candidate, similarity=known)
    better = {
        "similarity": replace(base, similarity=data.draw(st.floats(known, 1))),
        "recency": replace(base, remembered_at=base.remembered_at + data.draw(st.timedeltas(timedelta(0), 52 * WEEK))),
        "access": replace(base, access_count=base.access_count + data.draw(st.integers(0, 1000))),
        "tags": replace(base, tags=base.tags + tags),
    }
    before = score(base, tags, NOW, mix)
    for part, more in better.items():
        after = score(more, tags, NOW, mix)
        assert getattr(after, part) >= getattr(before, part)
        assert after.total >= before.total - 1e-12
        others = {"similarity", "recency", "access", "tags"} - {part}
        assert all(getattr(after, other) == getattr(before, other) for other in others)


@given(st.lists(candidates, max_size=12, unique_by=lambda c: c.id), tag_sets, st.randoms())
def test_the_order_is_by_total_then_id(found: list[Candidate], tags: tuple[str, ...], random: Any) -> None:
    ranked = rank(found, tags, NOW)
    assert [(-r.total, c.id) for c, r in ranked] == sorted((-score(c, tags, NOW).total, c.id) for c in found)
    random.shuffle(found)
    assert rank(found, tags, NOW) == ranked


def test_equal_ones_go_by_id() -> None:
    same = [Candidate(n, 0.5, NOW) for n in (3, 1, 2)]
    assert [c.id for c, _ in rank(same, iter(["a"]), NOW)] == [1, 2, 3]


@given(st.lists(st.floats(0, 1e9), max_size=8))
def test_scaled_scores_keep_order_and_bounds(scores: list[float]) -> None:
    shares = scaled(scores)
    assert all(0.0 <= s <= 1.0 for s in shares)
    assert [s == 1.0 for s in shares] == [bool(v) and v / max(scores) == 1.0 for v in scores]
    order = sorted(range(len(scores)), key=scores.__getitem__)
    assert [shares[n] for n in order] == sorted(shares)


def test_scaled_scores() -> None:
    assert scaled([2.0, 4.0, 0.0]) == [0.5, 1.0, 0.0]
    assert scaled([0.0, 0.0]) == [0.0, 0.0]
    assert scaled([]) == []


HALF_LIFE = "half_life_hours must be a number above 0 and at most 1000000000"


def test_the_largest_weights_and_the_shortest_half_life_are_finite() -> None:
    made = Weights(1_000_000, 1_000_000, 1_000_000, 1_000_000, half_life_hours=5e-324)
    found = score(Candidate(1, 1.0, NOW - timedelta(days=3650), 2**31), ["a"], NOW, made)
    assert (found.recency, 0 <= found.total <= 1) == (0.0, True)
    assert score(Candidate(1, 1.0, NOW), [], NOW, Weights(5e-324, 0, 0, 0)).total <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Weights(similarity=-1), "weight of similarity must be a number between 0 and 1000000, not -1"),
        (lambda: Weights(tags=math.nan), "weight of tags must be a number between 0 and 1000000, not nan"),
        (lambda: Weights(access=math.inf), "weight of access must be a number between 0 and 1000000, not inf"),
        (lambda: Weights(1e308, 1e308), "weight of similarity must be a number between 0 and 1000000, not 1e+308"),
        (lambda: Weights(recency=True), "weight of recency must be a number between 0 and 1000000, not True"),
        (lambda: Weights(tags="1"), "weight of tags must be a number between 0 and 1000000, not '1'"),  # type: ignore[arg-type]
        (lambda: Weights(0, 0, 0, 0), "one of the weights similarity, tags, recency and access must be above 0"),
        (lambda: Weights(half_life_hours=0), f"{HALF_LIFE}, not 0"),
        (lambda: Weights(half_life_hours=math.inf), f"{HALF_LIFE}, not inf"),
        (lambda: Weights(half_life_hours=10**10), f"{HALF_LIFE}, not 10000000000"),
        (lambda: score(Candidate(7, 1.5, NOW), [], NOW), "similarity of memory 7 must be at most 1.0, not 1.5"),
        (lambda: score(Candidate(7, math.nan, NOW), [], NOW), "similarity of memory 7 must be at most 1.0, not nan"),
        (lambda: score(Candidate(7, 1, NOW, -1), [], NOW), "access_count of memory 7 must be 0 or more, not -1"),
        (lambda: scaled([1.0, -1.0]), "a score must be 0 or more, not -1.0"),
        (lambda: scaled([math.nan]), "a score must be 0 or more, not nan"),
    ],
)
def test_wrong_values_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        make()
    assert str(refused.value) == message
