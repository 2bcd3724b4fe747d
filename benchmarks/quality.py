"""bench-quality: how well recall finds, on texts not written by us.

A Debian package's long description is looked for by its short one. Recall@10 is the share of queries whose text is
among the first ten, MRR the mean of 1/rank (0 beyond the tenth). Vectors are the local model's (all-MiniLM-L6-v2);
without it only full text is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import uvloop

from benchmarks import bare_recall, corpus, ours
from benchmarks.contenders import Embed, OpenSearcher, Searcher, Strategy
from benchmarks.harness import debian, machine, options, postgres, report
from benchmarks.harness.debian import Description
from benchmarks.harness.figures import Figures
from benchmarks.harness.texts import Query, QueryKind
from benchmarks.harness.vectors import literal
from benchmarks.recall import LIMIT, opened
from robotgroups.embedding import embedding_config, make_embedder
from robotgroups.errors import MissingFeatureError

KEYS = tuple(f"{strategy}_{figure}" for strategy in Strategy for figure in ("recall_at_10", "mrr"))
TEXTS, QUICK_TEXTS = 3000, 60
QUERIES, QUICK_QUERIES = 500, 20
SHORTEST = 100  # characters: less is hardly a description
# Any words: what full text finds when a query is no list of words that must all be there.
ANY = "fulltext_any_word"


@dataclass(frozen=True)
class Case:
    """Texts with their vectors (None without a model); queries, each with the number of the text that it is after."""

    texts: Sequence[str]
    vectors: Sequence[Sequence[float]] | None
    queries: Sequence[Query]
    embedded: Mapping[str, list[float]]
    wanted: Sequence[int]


def chosen_descriptions(count: int) -> list[Description]:
    """As many descriptions, chosen by their packages' hashes: the same ones everywhere, and no two texts the same."""
    long_enough = [d for d in debian.descriptions() if len(d.long) >= SHORTEST]
    return sorted(long_enough, key=lambda d: hashlib.sha256(d.package.encode()).digest())[:count]


async def case(texts: int, queries: int) -> Case:
    """Reads the descriptions and embeds them, when there is a model."""
    found = chosen_descriptions(texts)
    longs, shorts = [d.long for d in found], [d.short for d in found[:queries]]
    vectors, embedded = None, {}
    try:
        embedder = make_embedder(embedding_config("local"))
    except MissingFeatureError as error:
        report.say(f"full text only: {error}")
    else:
        assert embedder is not None
        report.say(f"embed {len(longs)} texts and {len(shorts)} queries")
        vectors = await embedder.embed(longs)
        embedded = dict(zip(shorts, await embedder.embed(shorts), strict=True))
        await embedder.aclose()
    asked = [Query(QueryKind.MIXED, short, 0, "") for short in shorts]
    return Case(longs, vectors, asked, embedded, range(len(shorts)))


def stage(dsn: str, what: Case) -> None:
    """Puts the texts into the corpus' table, all in the first group."""
    nothing = literal([1.0, *[0.0] * 383])
    corpus.stage_these(
        dsn,
        (
            (number, 0, text, "area:0", literal(what.vectors[number]) if what.vectors else nothing)
            for number, text in enumerate(what.texts)
        ),
    )


def scores(ranks: Sequence[int | None]) -> tuple[float, float]:
    """Recall@10 and MRR of ranks (1 is the first; None: not among the ten)."""
    return (
        sum(rank is not None for rank in ranks) / len(ranks),
        sum(1 / rank for rank in ranks if rank is not None) / len(ranks),
    )


async def judged(searcher: Searcher, strategy: Strategy, queries: Sequence[Query], what: Case) -> tuple[float, float]:
    """Recall@10 and MRR of one strategy."""
    ranks: list[int | None] = []
    for query, original, wanted in zip(queries, what.queries, what.wanted, strict=True):
        found = await searcher.search(strategy, query, what.embedded.get(original.words, []), LIMIT)
        ranks.append(found.index(wanted) + 1 if wanted in found else None)
    return scores(ranks)


def any_word(query: Query) -> Query:
    """The query with "or" between its words, as websearch takes it."""
    words = [word.strip("\"'-()") for word in query.words.split()]
    return Query(query.kind, " or ".join(word for word in words if word), query.group, query.tag)


def searchers(chosen: Sequence[str], embed: Embed) -> dict[str, OpenSearcher]:
    """How each contender is opened."""
    made: dict[str, OpenSearcher] = {"ours": ours.open_searcher(embed), "limit": bare_recall.of_kind("vector")}
    if "langgraph_index" in chosen:
        from benchmarks.peers import langgraph_store  # noqa: PLC0415

        made["langgraph_index"] = langgraph_store.open_searcher(embed)
    if "mem0" in chosen:
        from benchmarks.peers import mem0_store  # noqa: PLC0415

        made["mem0"] = mem0_store.open_searcher
    if "htm" in chosen:
        from benchmarks.peers import htm_recall  # noqa: PLC0415

        made["htm"] = htm_recall.open_searcher(vectors=True)
    return made


async def run(chosen: options.Options) -> None:
    """Fills everybody's tables and asks all queries once: what is found does not change from round to round."""
    what = await case(*((QUICK_TEXTS, QUICK_QUERIES) if chosen.quick else (TEXTS, QUERIES)))
    measured: dict[str, Figures] = {}
    with postgres.server() as server:
        facts = machine.facts(server.settings()) | {"texts": len(what.texts), "queries": len(what.queries)}
        dsn = server.database("quality")
        stage(dsn, what)
        async with opened(dsn, searchers(chosen.peers, what.embedded.__getitem__)) as made:
            for name, searcher in made.items():
                report.say(f"  ask {name}")
                figures = {}
                for strategy in Strategy:
                    if strategy in searcher.strategies and (what.vectors or strategy is Strategy.FULLTEXT):
                        figures[f"{strategy}_recall_at_10"], figures[f"{strategy}_mrr"] = await judged(
                            searcher, strategy, what.queries, what
                        )
                if name in {"ours", "limit"}:
                    either = [any_word(query) for query in what.queries]
                    figures[f"{ANY}_recall_at_10"], figures[f"{ANY}_mrr"] = await judged(
                        searcher, Strategy.FULLTEXT, either, what
                    )
                measured[name] = figures
    details = {name: [figures] for name, figures in measured.items()}
    report.publish(report.result("quality", KEYS, measured, chosen.peers, facts), chosen, measured, details)


def main() -> None:
    """Reads the command line and runs."""
    uvloop.run(run(options.parse("quality", __doc__ or "", rounds=1)))


if __name__ == "__main__":
    main()
