"""Memory: what a group can do with what it has been told, without a model and without a network.

    pip install 'robotgroups[embedded]'
    python examples/memory.py

It uses the Postgres that ROBOTGROUPS_DSN names, else one of its own (embedded).
"""

from datetime import UTC, datetime, timedelta

from robotgroups import NewMemory, RobotGroup

ANN, BOB = {"user": "ann"}, {"user": "bob"}


def remember(group: RobotGroup) -> int:
    """Remember one and many, for everybody and for one user; returns the id of Ann's address."""
    group.remember("Refunds take five working days.", tags=["policy:refunds"], metadata={"version": 3})
    again = group.remember("Refunds take five working days.")  # the same content is one memory
    print(f"said {group.get(again).remember_count} times, kept once")
    address, *_ = group.remember_many(
        [
            NewMemory("Ann lives in Cork.", scope=ANN, tags=["profile:address"]),
            NewMemory("Ann is waiting for a refund.", scope=ANN, tags=["ticket:refund"]),
            NewMemory("Bob wants a refund at once.", scope=BOB, tags=["ticket:refund"]),
            NewMemory("The shop is closed today.", expires_at=datetime.now(UTC) + timedelta(hours=8)),
        ]
    )
    return address


def recall(group: RobotGroup) -> None:
    """Search by words and by what a memory must be beside matching; ask why."""
    print(f"refund: {len(group.recall('refund'))}, of Ann: {[m.content for m in group.recall('refund', scope=ANN)]}")
    print(f"tickets: {len(group.recall('refund', tags=['ticket']))}, today: {len(group.recall('refund today'))}")
    print(f"said today: {len(group.recall('refund today', timeframe='auto'))}")
    print(f"version 3: {[m.tags for m in group.recall('refund -bob', metadata={'version': 3})]}")
    best = group.recall("refund", relevance=True, explain=True)[0].parts or {}
    print(f"counted: {', '.join(sorted(best['relevance']))}")


def change(group: RobotGroup, address: int) -> None:
    """Update with a history, relate, find a tag in spite of a typo."""
    version = group.update(address, "Ann lives in Galway.").version
    print(f"version {version}, before that: {group.history(address)[1].content}")
    refund = group.recall("waiting")[0].id
    group.relate(refund, address, "is sent to", 0.5)
    print(f"related: {[(r.memory.content, r.weight) for r in group.related(refund, kinds=['is sent to'])]}")
    print(f"widened: {[m.content for m in group.recall('waiting', scope=ANN, widen=1)]}")
    print(f"meant {group.find_tags('adress')[0].tag}, of {[t.tag for t in group.tags()]}")


def work(group: RobotGroup, address: int) -> None:
    """What a prompt gets: pinned memories stay, recalled ones come back, a budget holds."""
    group.pin(address)
    print(f"left the working memory: {group.clear_working_memory()}")
    group.recall("refund", scope=ANN, into_working_memory=True)
    context = group.context(query="where is the refund sent?", max_tokens=40, scope=ANN)
    print(f"a context of at most 40 tokens:\n{context.text}")


def main() -> None:
    """Remember, recall, change, work, and remove one user for good."""
    with RobotGroup("memory-example", active=["helper"], max_tokens=2000) as group:
        try:
            address = remember(group)
            recall(group)
            change(group, address)
            work(group, address)
        finally:
            print(f"erased of Ann: {group.erase(scope=ANN)}, of others: {group.erase(scope=BOB)}")
            print(f"Ann is forgotten: {group.recall('Ann') == []}")
            group.erase([m.id for m in group.recall("refunds or shop", 1000)])  # for the next run


if __name__ == "__main__":
    main()
