"""bench-recall: how long a search takes at 10,000 and 100,000 memories of ten groups, and what of the truth it finds.

Everybody answers the same queries over the same texts and vectors, in turns, in one database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uvloop

from benchmarks import bare_recall, corpus, ours
from benchmarks.contenders import Embed, OpenSearcher, Searcher, Strategy
from benchmarks.corpus import Question
from benchmarks.harness import load, machine, options, postgres, report
from benchmarks.harness.figures import Figures, median_of_rounds, percentile, rotated

SIZES = {"10k": 10_000, "100k": 100_000}
MILLION = {"1m": 1_000_000}
QUICK_SIZES, QUICK_MILLION = {"10k": 600, "100k": 1200}, {"1m": 1500}
KEYS = (
    *(f"{s}_{size}_{p}_ms" for size in (*SIZES, *MILLION) for s in Strategy for p in ("p50", "p99")),
    "recall_at_10", "recall_at_10_filtered",
)  # fmt: skip
ROUNDS = 3
LIMIT = 10
QUERIES, QUICK_QUERIES = 200, 12
JUDGED, QUICK_JUDGED = 100, 8  # queries whose answers are compared with the exact ones
SECONDS = 2.5  # of a turn at most
# HTM pads vectors to 2,000 dimensions: the index of more than these would take longer than the run.
HTM_VECTORS = 10_000


def searchers(chosen: Sequence[str], embed: Embed, size: int, kind: str) -> dict[str, OpenSearcher]:
    """How each contender is opened. LangGraph's store without an index finds nothing by content."""
    opened: dict[str, OpenSearcher] = {"ours": ours.open_searcher(embed), "limit": bare_recall.of_kind(kind)}
    if "langgraph_index" in chosen:
        from benchmarks.peers import langgraph_store  # noqa: PLC0415

        opened["langgraph_index"] = langgraph_store.open_searcher(embed)
    if "mem0" in chosen:
        from benchmarks.peers import mem0_store  # noqa: PLC0415

        opened["mem0"] = mem0_store.open_searcher
    if "htm" in chosen:
        from benchmarks.peers import htm_recall  # noqa: PLC0415

        opened["htm"] = htm_recall.open_searcher(vectors=size <= HTM_VECTORS)
    return opened


@asynccontextmanager
async def opened(dsn: str, openers: dict[str, OpenSearcher]) -> AsyncIterator[dict[str, Searcher]]:
    """The contenders, each with its tables filled."""
    async with AsyncExitStack() as stack:
        made = {}
        for name, opener in openers.items():
            report.say(f"  fill {name}")
            schema = f"of_{name}"
            made[name] = await stack.enter_async_context(opener(corpus.own_schema(dsn, schema), schema))
        yield made


@dataclass(frozen=True)
class Course:
    """The questions about a corpus of one size."""

    label: str
    questions: Sequence[Question]
    seconds: float

    async def turn(self, searcher: Searcher, strategy: Strategy, first: int, count: int) -> Figures:
        """Asks from the ``first`` question on, one after the other."""

        async def call(number: int) -> None:
            asked = self.questions[number % len(self.questions)]
            await searcher.search(strategy, asked.query, asked.vector, LIMIT)

        measured = await load.closed(
            call, iter(range(first, first + count)), callers=1, seconds=self.seconds, count=count
        )
        prefix = f"{strategy}_{self.label}"
        return {
            f"{prefix}_p50_ms": percentile(measured.latencies_ms, 50),
            f"{prefix}_p95_ms": percentile(measured.latencies_ms, 95),
            f"{prefix}_p99_ms": percentile(measured.latencies_ms, 99),
            f"{prefix}_per_s": measured.per_s,
        }


@dataclass(frozen=True)
class Truth:
    """The exact ten nearest of each question, in its group, and with its tag only."""

    questions: Sequence[Question]
    nearest: Mapping[bool, Sequence[frozenset[int]]]

    @classmethod
    async def told_by(cls, exact: Searcher, questions: Sequence[Question]) -> Truth:
        """Asks a searcher that does without an index."""
        nearest = {
            tagged: [
                frozenset(await exact.search(Strategy.VECTOR, q.query, q.vector, LIMIT, tagged=tagged))
                for q in questions
            ]
            for tagged in (False, True)
        }
        return cls(questions, nearest)

    async def found_by(self, searcher: Searcher, *, tagged: bool) -> float:
        """Recall@10: the share of the exact ten that the searcher's ten have."""
        found = 0
        for asked, truth in zip(self.questions, self.nearest[tagged], strict=True):
            got = await searcher.search(Strategy.VECTOR, asked.query, asked.vector, LIMIT, tagged=tagged)
            found += len(truth.intersection(got))
        return found / sum(map(len, self.nearest[tagged]))


async def timed(made: Mapping[str, Searcher], course: Course, rounds: int, count: int) -> dict[str, list[Figures]]:
    """The rounds of all contenders and strategies, in turns; who begins changes with every round."""
    for searcher in made.values():
        for strategy in searcher.strategies:
            await course.turn(searcher, strategy, 0, count // 4)  # warm up
    measured: dict[str, list[Figures]] = {name: [] for name in made}
    for number in range(rounds):
        for strategy in Strategy:
            for name in rotated(list(made), number):
                if strategy in made[name].strategies:
                    measured[name].append(await course.turn(made[name], strategy, number * count, count))
    return measured


async def judged(made: Mapping[str, Searcher], truth: Truth) -> dict[str, Figures]:
    """Recall@10 of those that search by vector, with and without a filter. HTM has no groups to be judged by."""
    return {
        name: {
            "recall_at_10": await truth.found_by(searcher, tagged=False),
            "recall_at_10_filtered": await truth.found_by(searcher, tagged=True),
        }
        for name, searcher in made.items()
        if Strategy.VECTOR in searcher.strategies and name != "htm"
    }


async def measure(server: postgres.Server, label: str, size: int, chosen: options.Options) -> dict[str, list[Figures]]:
    """All contenders at one size; recall@10 without a size in its name is that of 100,000."""
    count, judges = (QUICK_QUERIES, QUICK_JUDGED) if chosen.quick else (QUERIES, JUDGED)
    kind = "halfvec" if label in MILLION else "vector"
    report.say(f"{label}: {size} memories of {corpus.GROUPS} groups")
    dsn = server.database(f"recall_{label}")
    corpus.stage(dsn, size, kind=kind)
    questions = corpus.questions(size, count * chosen.rounds)
    known = {asked.query.words: list(asked.vector) for asked in questions}
    openers = searchers(() if label in MILLION else chosen.peers, known.__getitem__, size, kind)
    async with opened(dsn, openers) as made:
        report.say("  ask")
        rounds = await timed(made, Course(label, questions, SECONDS), chosen.rounds, count)
        async with bare_recall.open_exact(corpus.in_schema(dsn, "of_limit"), kind=kind) as exact:
            report.say("  compare with the truth")
            truth = await Truth.told_by(exact, questions[:judges])
            for name, figures in (await judged(made, truth)).items():
                rounds[name].append(
                    figures if label == "100k" else {f"{key}_{label}": value for key, value in figures.items()}
                )
    server.drop(f"recall_{label}")
    return rounds


async def run(chosen: options.Options) -> None:
    """One size after the other."""
    sizes, million = (QUICK_SIZES, QUICK_MILLION) if chosen.quick else (SIZES, MILLION)
    if chosen.million:
        sizes = sizes | million
    details: dict[str, list[Figures]] = {}
    with postgres.server() as server:
        facts = machine.facts(server.settings())
        for label, size in sizes.items():
            for name, rounds in (await measure(server, label, size, chosen)).items():
                details.setdefault(name, []).extend(rounds)
    measured = {name: median_of_rounds(rounds) for name, rounds in details.items()}
    report.publish(report.result("recall", KEYS, measured, chosen.peers, facts), chosen, measured, details)


def main() -> None:
    """Reads the command line and runs."""
    chosen = options.parse("recall", __doc__ or "", rounds=ROUNDS, million=True)
    uvloop.run(run(chosen))


if __name__ == "__main__":
    main()
