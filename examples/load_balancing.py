"""Load balancing: queries go to several active robots in turn, and what one learns all of them know.

    python examples/load_balancing.py

It uses the Postgres that ROBOTGROUPS_DSN names, else one of its own (embedded).
"""

from itertools import cycle

from robotgroups import RobotGroup
from robotgroups.errors import NoPassiveRobotError

QUERIES = ["opening hours", "delivery times", "return policy", "payment methods"]


def main() -> None:
    """Distribute queries over two handlers; neither has a standby."""
    with RobotGroup(name="query-handlers", active=["handler-1", "handler-2"], passive=[], max_tokens=8000) as group:
        for query, handler in zip(QUERIES, cycle(group.active), strict=False):
            group.remember(f"Query about {query}, answered by {handler}.", originator=handler, tags=["query", handler])
        print(f"{group.status()['working_memory_nodes']} queries, in sync: {group.in_sync}")
        for handler in group.active:
            answered = group.recall("query", tags=[handler])
            print(f"{handler} answered {len(answered)}")
        print(f"last on delivery: {group.recall('delivery')[0].content}")

        try:
            group.failover()
        except NoPassiveRobotError as error:
            print(f"no failover: {error}")

        # One handler less, or one more: the others go on.
        group.add_active("handler-3")
        group.remove("handler-1")
        print(f"active {group.active}")
        group.clear_working_memory()
        for handler in group.active:
            group.remove(handler)  # roles stay in Postgres: without this, the next run goes on where this one ended


if __name__ == "__main__":
    main()
