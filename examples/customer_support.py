"""Customer support: agents share what they know of a customer, and a standby takes over with all of it.

    pip install 'robotgroups[embedded]'
    python examples/customer_support.py

It uses the Postgres that ROBOTGROUPS_DSN names, else one of its own (embedded).
"""

from robotgroups import RobotGroup


def walk_through() -> None:
    """Share memory, lose the primary, go on with the standby, scale up, work together."""
    group = RobotGroup(
        name="customer-support-ha",
        active=["support-primary"],  # handle requests
        passive=["support-standby"],  # keep the same context, ready to take over
        max_tokens=8000,  # token limit of the shared memory
    )

    # Memories are shared across all robots of the group.
    group.remember("Customer account #12345 prefers email communication.", originator="support-primary")
    group.remember("Open ticket #789: Billing discrepancy reported.", originator="support-primary")
    group.remember("The customer asked for a call back on Friday.", originator="support-primary", tags=["call-back"])

    status = group.status()
    print(f"active {status['active']}, passive {status['passive']}")
    print(f"{status['working_memory_nodes']} memories, in sync: {status['in_sync']}")

    # The primary stops responding: fail over to the standby, which has the full context.
    print(f"failover to {group.failover()}")
    print(f"active {group.active}, passive {group.passive}, failed {group.status()['failed']}")
    for memory in group.recall("customer", limit=5, strategy="fulltext"):
        print(f"  recalled: {memory.content}")

    # Scale up: a second active robot has the same working memory at once.
    group.add_active("support-secondary")
    group.sync_robot("support-secondary")
    print(f"active {group.active}")

    # Either robot adds memories for all.
    group.remember("Issue escalated to billing department.", originator="support-secondary")
    print(f"in sync: {group.in_sync}")
    print(f"synchronized: {group.sync_stats()['nodes_synced'] > 0}, listening: {group.channel.listening}")

    # What a prompt needs of it, within a budget of tokens.
    print(f"context of {len(group.context(strategy='recent', max_tokens=100).memory_ids)} memories")

    # The failed primary comes back, as a standby.
    group.add_passive("support-primary")
    print(f"passive {group.passive}")

    print(f"cleared {group.clear_working_memory()} memories from the working memory")
    for robot in ["support-primary", "support-standby", "support-secondary"]:
        group.remove(robot)  # roles stay in Postgres: without this, the next run goes on where this one ended
    group.shutdown()


def team() -> None:
    """A team of three with one backup: leave the `with` block, and the robots' presence ends."""
    with RobotGroup(
        name="support-team", active=["agent-1", "agent-2", "agent-3"], passive=["backup-agent"], max_tokens=16000
    ) as group:
        for agent in group.active:
            group.remember(f"{agent} has an ongoing conversation.", originator=agent)
        print(f"{group.name}: {len(group.active)} active, {len(group.passive)} passive, {group.max_tokens} tokens")
        print(f"every agent knows of {len(group.working_memory())} conversations")


if __name__ == "__main__":
    walk_through()
    team()
