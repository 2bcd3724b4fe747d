"""Tags: rules, tree, search with typos, likeness."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups import tags
from robotgroups.errors import ArgumentError, InvalidTagError

level = st.text(st.sampled_from("abcAB1-_ é"), min_size=1, max_size=4).filter(str.strip)
tag_lists = st.lists(st.lists(level, min_size=1, max_size=5).map(":".join), max_size=6)
clean = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(":".join)
clean_sets = st.frozensets(clean, max_size=6)
weights = st.dictionaries(clean, st.floats(1e-6, 1e6))


# -- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_tag", "kept"),
    [
        ("database", "database"),
        ("Database:PostgreSQL", "Database:PostgreSQL"),
        ("  a : b\t:\nc ", "a:b:c"),
        ("two words", "two words"),
        ("a:b:c:d:e", "a:b:c:d:e"),
        ("ü:✓", "ü:✓"),
        (" " + "t" * 200 + " ", "t" * 200),
    ],
)
def test_a_tag_is_trimmed_and_keeps_its_case(given_tag: str, kept: str) -> None:
    assert tags.check_tag(given_tag) == kept


@pytest.mark.parametrize(
    ("given_tag", "message"),
    [
        ("", "tag '' must not be blank"),
        (" \n", "tag ' \\n' must not be blank"),
        (":", "tag ':' has a blank level: write a:b, with a name on both sides of each colon"),
        ("a:", "tag 'a:' has a blank level"),
        (":a", "tag ':a' has a blank level"),
        ("a: :b", "tag 'a: :b' has a blank level"),
        ("a:b:c:d:e:f", "tag 'a:b:c:d:e:f' has 6 levels; at most 5 are taken"),
        ("t" * 201, f"tag '{'t' * 199}… has 201 characters; at most 200 are taken"),
        ("a\x00", "tag 'a\\x00' holds a NUL character at character 1, which cannot be stored: remove it"),
        ("\ud800", "tag '\\ud800' holds a lone surrogate at character 0: send whole characters"),
        (7, "tag 7 must be text, not int"),
    ],
)
def test_what_is_no_tag_is_refused_by_name(given_tag: Any, message: str) -> None:
    with pytest.raises(InvalidTagError) as refused:
        tags.check_tags(["fine", given_tag])
    assert str(refused.value).startswith(message)
    assert refused.value.reason in str(refused.value)
    assert repr(given_tag) not in refused.value.reason


def test_tags_are_counted_once() -> None:
    assert tags.check_tags(["b", "a", " b", "a : x", "a:x"]) == ("b", "a", "a:x")
    assert tags.check_tags(()) == ()
    assert len(tags.check_tags([f"t{n}" for n in range(64)] + ["t0"])) == 64
    with pytest.raises(InvalidTagError, match=r"^a memory may have 64 tags, not 65$"):
        tags.check_tags([f"t{n}" for n in range(65)])
    with pytest.raises(InvalidTagError, match=r"^tags must be a list of tags, not the text 'a,b'$"):
        tags.check_tags("a,b")


@given(tag_lists)
def test_checking_twice_changes_nothing(given_tags: list[str]) -> None:
    once = tags.check_tags(given_tags)
    assert tags.check_tags(once) == once
    assert len(set(once)) == len(once)


def test_what_stands_above() -> None:
    assert tags.ancestors("a:b:c") == ("a", "a:b")
    assert tags.ancestors("a") == ()


@pytest.mark.parametrize(
    ("tag", "wanted", "found"),
    [("a:b", "a", True), ("a", "a", True), ("ab", "a", False), ("a", "a:b", False), ("A:b", "a", False)],
)
def test_a_filter_finds_what_stands_below(tag: str, wanted: str, found: bool) -> None:
    assert tags.matches(tag, wanted) is found


@given(clean, clean)
def test_a_filter_finds_exactly_what_it_stands_above(tag: str, wanted: str) -> None:
    assert tags.matches(tag, wanted) == (wanted in {*tags.ancestors(tag), tag})


# -- the tree --------------------------------------------------------------------------------------------------------

COUNTS = {"database:postgresql:index": 2, "database": 1, "database:redis": 4, "api": 3, "Zoo:a": 1}


def test_the_tree_counts_what_stands_below() -> None:
    tree = tags.tree(COUNTS)
    assert tree.mapping() == {"Zoo": {"a": {}}, "api": {}, "database": {"postgresql": {"index": {}}, "redis": {}}}
    assert tree.lines() == [
        "├── Zoo (1)",
        "│   └── a (1)",
        "├── api (3)",
        "└── database (7)",
        "    ├── postgresql (2)",
        "    │   └── index (2)",
        "    └── redis (4)",
    ]
    assert [(n.tag, n.name, n.count, n.total) for n in tree.walk()] == [
        ("Zoo", "Zoo", 0, 1),
        ("Zoo:a", "a", 1, 1),
        ("api", "api", 3, 3),
        ("database", "database", 1, 7),
        ("database:postgresql", "postgresql", 0, 2),
        ("database:postgresql:index", "index", 2, 2),
        ("database:redis", "redis", 4, 4),
    ]
    assert (tree.name, tree.tag, tree.count, tree.total) == ("", "", 0, 11)


def test_no_tags_are_an_empty_tree() -> None:
    assert tags.tree({}) == tags.TagNode("", "", 0, 0, ())
    assert tags.tree({}).lines() == []


@given(st.dictionaries(clean, st.integers(1, 9)))
def test_the_tree_has_every_tag_once_and_all_above(counts: dict[str, int]) -> None:
    nodes = list(tags.tree(counts).walk())
    assert {n.tag for n in nodes} == tags.expand(counts)
    assert len(nodes) == len({n.tag for n in nodes}) == len(tags.tree(counts).lines())
    assert {n.tag: n.count for n in nodes if n.count} == counts
    for node in nodes:
        assert node.total == sum(count for tag, count in counts.items() if tags.matches(tag, node.tag))


def test_older_tags_without_end_are_taken() -> None:
    endless = ":".join("x" * 5000)
    assert len(tags.ancestors(endless)) == 49
    assert len(tags.tree({endless: 1}).lines()) == 50
    assert tags.weighted_jaccard([endless], [endless]) == 1.0
    assert tags.fuzzy("x", [endless])[0].score == 1.0


# -- search ----------------------------------------------------------------------------------------------------------

KNOWN = [
    "database",
    "database:postgresql",
    "database:postgresql:index",
    "database:redis",
    "operations:kubernetes:pod",
    "customer:billing",
    "Billing",
    "ai:llm:embedding",
    "language:python",
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kubernets", ["operations:kubernetes:pod"]),  # left out
        ("kuberrnetes", ["operations:kubernetes:pod"]),  # twice
        ("kubernettes:pod", ["operations:kubernetes:pod"]),
        ("pyhton", ["language:python"]),  # swapped
        ("embadding", ["ai:llm:embedding"]),  # replaced
        ("biling", ["Billing", "customer:billing"]),
        ("BILLING", ["Billing", "customer:billing"]),
        ("databse:postgersql", ["database:postgresql", "database:postgresql:index"]),
        ("postgres", ["database:postgresql", "database:postgresql:index"]),  # half typed
        ("database : redis", ["database:redis"]),
        ("lang", ["language:python"]),
        ("zebra", []),
    ],
)
def test_tags_are_found_in_spite_of_typos(query: str, found: list[str]) -> None:
    assert [match.tag for match in tags.fuzzy(query, KNOWN, min_score=0.8)] == found


def test_scores_are_what_is_documented() -> None:
    scores = {m.tag: m.score for m in tags.fuzzy("pyhton", ["language:python", "python3"], min_score=0)}
    assert scores == {"language:python": pytest.approx(1 - 1 / 6), "python3": pytest.approx(1 - 2 / 7)}
    assert tags.fuzzy("data", ["database"]) == [tags.TagMatch("database", 0.9)]
    assert tags.fuzzy("redis", ["database:redis"]) == [tags.TagMatch("database:redis", 1.0)]


def test_ties_go_by_name_and_the_limit_holds() -> None:
    assert [m.tag for m in tags.fuzzy("x", ["x:b", "x:a", "x", "x:c", "x:a"])] == ["x", "x:a", "x:b", "x:c"]
    assert [m.tag for m in tags.fuzzy("x", ["x:b", "x:a", "x", "x:c"], limit=2)] == ["x", "x:a"]


@given(st.lists(clean, max_size=8), st.text("abcd:", max_size=6).filter(lambda q: q.strip(":")), st.randoms())
def test_the_order_given_does_not_matter(given_tags: list[str], query: str, random: Any) -> None:
    found = tags.fuzzy(query, given_tags, min_score=0.0)
    random.shuffle(given_tags)
    assert tags.fuzzy(query, given_tags, min_score=0.0) == found
    assert {m.tag for m in found} == set(given_tags)
    assert all(0.0 <= m.score <= 1.0 for m in found)
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
    assert all(m.score == 1.0 for m in found if m.tag == query)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": " "}, "query must not be blank"),
        ({"query": "::"}, "query must not be blank"),
        ({"query": "\x00"}, "query holds a NUL character"),
        ({"query": "x", "limit": 0}, "limit must be at least 1, not 0"),
        ({"query": "x", "min_score": 1.5}, "min_score must be between 0.0 and 1.0, not 1.5"),
        ({"query": "x", "min_score": float("nan")}, "min_score must be between 0.0 and 1.0, not nan"),
    ],
)
def test_wrong_searches_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        tags.fuzzy(tags=KNOWN, **arguments)


# -- likeness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "weight"),
    [
        (["a:b"], ["a:b"], 1.0),
        (["a"], ["b"], 0.0),
        ([], [], 0.0),
        (["a"], [], 0.0),
        (["a:b"], ["a:c"], 1 / 3),  # a of a, a:b, a:c
        (["a:b:c"], ["a:b:d"], 2 / 4),
        (["a:b"], ["a"], 1 / 2),
        (["a:b", "a"], ["a:b"], 1.0),  # what stands above is meant anyway
        (["a", "x"], ["a", "y"], 1 / 3),
    ],
)
def test_the_weight_of_an_edge(a: list[str], b: list[str], weight: float) -> None:
    assert tags.weighted_jaccard(a, b) == pytest.approx(weight)


def test_a_rare_tag_in_common_weighs_more() -> None:
    counts = {"common": 90, "rare": 2, "x": 10, "y": 10}
    idf = tags.inverse_frequency(counts, 100)
    assert idf["rare"] == pytest.approx(math.log(51))
    assert idf["common"] == pytest.approx(math.log(1 + 100 / 90))
    rare = tags.weighted_jaccard(["rare", "x"], ["rare", "y"], idf)
    common = tags.weighted_jaccard(["common", "x"], ["common", "y"], idf)
    assert rare == pytest.approx(math.log(51) / (math.log(51) + 2 * math.log(11)))
    assert rare > 1 / 3 > common


def test_an_unknown_tag_weighs_as_the_heaviest() -> None:
    assert tags.weighted_jaccard(["a", "new"], ["a"], {"a": 1.0, "b": 3.0}) == pytest.approx(1 / 4)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_weights_are_refused(weight: float) -> None:
    with pytest.raises(ArgumentError, match="the weight of tag 'a' must be above 0, not"):
        tags.weighted_jaccard(["a"], ["a", "b"], {"a": weight})


@given(clean_sets, clean_sets, weights)
def test_likeness_is_symmetric_and_bounded(
    a: frozenset[str], b: frozenset[str], given_weights: dict[str, float]
) -> None:
    likeness = tags.weighted_jaccard(a, b, given_weights)
    assert likeness == tags.weighted_jaccard(b, a, given_weights)
    assert 0.0 <= likeness <= 1.0
    assert (likeness == 0.0) == tags.expand(a).isdisjoint(tags.expand(b))
    assert (likeness == 1.0) == (bool(a) and tags.expand(a) == tags.expand(b))
    if a:
        assert tags.weighted_jaccard(a, a, given_weights) == 1.0


@given(clean_sets, clean_sets, clean, weights)
def test_a_tag_in_common_never_makes_less_alike(
    a: frozenset[str], b: frozenset[str], shared: str, given_weights: dict[str, float]
) -> None:
    before = tags.weighted_jaccard(a, b, given_weights)
    assert tags.weighted_jaccard(a | {shared}, b | {shared}, given_weights) >= before - 1e-12


@given(st.dictionaries(clean, st.integers(0, 1000)), st.integers(0, 1000))
def test_weights_are_positive_and_fall_with_frequency(counts: dict[str, int], memories: int) -> None:
    idf = tags.inverse_frequency(counts, memories)
    assert all(weight > 0 for weight in idf.values())
    by_count = sorted(counts, key=lambda tag: counts[tag])
    assert [idf[tag] for tag in by_count] == sorted(idf.values(), reverse=True)
