"""M3, M4, M5: a cache at revision r is the working set at r, within its budget; at the end all of them are equal."""

from collections.abc import Iterator

from tests.chaos.checks.violation import Kind, Violation
from tests.chaos.history import Event, History, digest_of
from tests.chaos.tables import Tables


def check(history: History, tables: Tables) -> Iterator[Violation]:
    """DIVERGED: a cache that was read or dumped is not the feed's replay; BUDGET: one with too many tokens."""
    digests, last = _replay(history, {read.revision for read in history.caches})
    for read in history.caches:
        wanted = digests.get(read.revision)
        if wanted is not None and wanted != read.digest:
            yield Violation(Kind.DIVERGED, read.robot, f"its cache at revision {read.revision} is not the feed's")
        if read.tokens > read.max_tokens:
            yield Violation(Kind.BUDGET, read.robot, f"{read.tokens} of {read.max_tokens} tokens at {read.revision}")
    if last != tables.working_set:
        yield Violation(Kind.DIVERGED, "the working set", f"the feed's replay differs in {_differing(last, tables)}")
    for robot, cache in sorted(tables.caches.items()):
        if cache.revision != tables.revision:
            yield Violation(Kind.DIVERGED, robot, f"ended at revision {cache.revision}, the group at {tables.revision}")
        elif cache.ids != tables.working_set:
            yield Violation(Kind.DIVERGED, robot, "its cache at the end is not the working set")


def _differing(replayed: frozenset[int], tables: Tables) -> str:
    return f"memories {sorted(replayed ^ tables.working_set)[:10]}"


def _replay(history: History, revisions: set[int]) -> tuple[dict[int, int], frozenset[int]]:
    """Digests of the working set at these revisions, as far as the feed is whole; and the set at its end."""
    held: set[int] = set()
    digest, digests = 0, {}
    for number, event in enumerate(sorted(history.events, key=lambda event: event.revision), start=1):
        if event.revision != number:
            break  # a gap is told elsewhere; what follows cannot be known
        digest = _apply(event, held, digest)
        if event.revision in revisions:
            digests[event.revision] = digest
    return digests, frozenset(held)


def _apply(event: Event, held: set[int], digest: int) -> int:
    if event.kind == "cleared":
        held.clear()
        return 0
    if event.memory is None:
        return digest
    if event.memory in held:
        held.discard(event.memory)
        digest -= digest_of([event.memory])
    if event.held:
        held.add(event.memory)
        digest += digest_of([event.memory])
    return digest % 2**61
