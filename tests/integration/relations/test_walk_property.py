"""The walk over relations against an exhaustive search of all ways, on random small graphs."""

import itertools
from collections.abc import Iterator, Mapping

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MEMORIES = 7
Edge = tuple[int, int]


@pytest.fixture(scope="module")
def connection(shared_dsn: str) -> Iterator[psycopg.Connection]:
    """A space with the memories 1 to 7."""
    with psycopg.connect(shared_dsn, autocommit=True) as made:
        made.execute("INSERT INTO robotgroups.spaces (cluster, namespace_uid) VALUES ('c', 'n')")
        made.execute(
            "INSERT INTO robotgroups.memories (id, space_id, content, content_hash, originator, tokens) "
            "OVERRIDING SYSTEM VALUE SELECT n, (SELECT id FROM robotgroups.spaces), n::text, n::text::bytea, 'a', 1 "
            "FROM generate_series(1, %s) n",
            (MEMORIES,),
        )
        yield made


def best_ways(
    edges: Mapping[Edge, float], starts: set[int], depth: int, min_weight: float
) -> dict[int, tuple[float, int]]:
    """Weight and depth of the best way to every memory, by trying every way without a circle."""
    weights: dict[frozenset[int], float] = {}
    for (a, b), weight in edges.items():
        pair = frozenset((a, b))
        weights[pair] = max(weight, weights.get(pair, 0.0))
    best: dict[int, tuple[float, int]] = {}
    for length in range(1, depth + 1):
        for way in itertools.permutations(range(1, MEMORIES + 1), length + 1):
            if way[0] not in starts or starts.intersection(way[1:]):
                continue
            product = 1.0
            for step in itertools.pairwise(way):
                product *= weights.get(frozenset(step), 0.0)
            if product >= min_weight and product > best.get(way[-1], (0.0, 0))[0]:
                best[way[-1]] = (product, length)
    return best


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # halves and their like multiply without rounding, so that ties are ties
    edges=st.dictionaries(
        st.tuples(st.integers(1, MEMORIES), st.integers(1, MEMORIES)).filter(lambda e: e[0] != e[1]),
        st.sampled_from([0.25, 0.5, 0.75, 1.0]),
        max_size=14,
    ),
    starts=st.sets(st.integers(1, MEMORIES), min_size=1, max_size=2),
    depth=st.integers(1, 5),
    min_weight=st.sampled_from([0.0, 0.125, 0.5]),
)
def test_the_walk_finds_what_an_exhaustive_search_finds(
    connection: psycopg.Connection, edges: dict[Edge, float], starts: set[int], depth: int, min_weight: float
) -> None:
    connection.execute("TRUNCATE robotgroups.relations")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO robotgroups.relations (source, target, kind, space_id, weight) "
            "SELECT %s, %s, 'near', id, %s FROM robotgroups.spaces",
            [(a, b, weight) for (a, b), weight in edges.items()],
        )
    found = connection.execute(
        "SELECT w.id, w.weight, w.depth, w.path FROM robotgroups.spaces s, "
        "robotgroups.walk(s.id, %s, %s, %s, NULL, '{}', 100) w",
        (sorted(starts), depth, min_weight),
    ).fetchall()
    assert {row[0]: (row[1], row[2]) for row in found} == best_ways(edges, starts, depth, min_weight)
    for memory_id, _, length, path in found:
        assert path[0] in starts
        assert path[-1] == memory_id
        assert len(set(path)) == len(path) == length + 1
