"""Disaster recovery: the primary's process is killed, and the standby, in another process, takes over by itself.

    python examples/disaster_recovery.py

It uses the Postgres that ROBOTGROUPS_DSN names, else one of its own (embedded).
"""

import subprocess
import sys
import time

from robotgroups import RobotGroup
from robotgroups.errors import RobotGroupsError

NAME, MEMORIES = "primary-with-dr", 100


def primary(dsn: str) -> None:
    """The primary's process: remembers, says which memories were acknowledged, and goes on living."""
    group = RobotGroup(name=NAME, active=["primary"], dsn=dsn)
    for number in range(MEMORIES):
        memory_id = group.remember(f"Transaction {number} of the customer is booked.")
        print(memory_id, flush=True)
    sys.stdin.read()


def main() -> None:
    """The standby's process: starts the primary, kills it, and takes over."""
    with RobotGroup(name=NAME, passive=["dr-standby"], max_tokens=32000) as group:
        with subprocess.Popen(  # noqa: S603  this file itself
            [sys.executable, __file__, group.dsn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            acknowledged = {int(process.stdout.readline()) for _ in range(MEMORIES)}
            print(f"active {group.active}, passive {group.passive}")
            process.kill()
        print(f"the primary was killed after {len(acknowledged)} acknowledged memories")

        while group.is_passive("dr-standby"):  # it watches the primary, and finds its death within milliseconds
            time.sleep(0.01)
        print(f"promoted: {group.active[0]}")
        kept = {memory.id for memory in group.working_memory()}
        print(f"lost: {len(acknowledged - kept)}")
        print(f"the standby goes on: {group.remember('The standby has taken over.') not in acknowledged}")

        status = group.status()
        print(f"active {status['active']}, failed {status['failed']}, epoch {status['epoch']}")
        group.clear_working_memory()
        for robot in ["primary", "dr-standby"]:
            group.remove(robot)  # roles stay in Postgres: without this, the next run goes on where this one ended


if __name__ == "__main__":
    if len(sys.argv) > 1:
        try:
            primary(sys.argv[1])
        except RobotGroupsError as refused:
            sys.exit(f"the primary ends: {refused}")
    else:
        main()
