"""Every example runs as a script, warnings being errors, and prints what it shows; twice: it leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"

EXPECTED = {
    "customer_support": """\
active ['support-primary'], passive ['support-standby']
3 memories, in sync: True
failover to support-standby
active ['support-standby'], passive [], failed ['support-primary']
  recalled: Customer account #12345 prefers email communication.
  recalled: The customer asked for a call back on Friday.
active ['support-standby', 'support-secondary']
in sync: True
synchronized: True, listening: True
context of 4 memories
passive ['support-primary']
cleared 4 memories from the working memory
support-team: 3 active, 1 passive, 16000 tokens
every agent knows of 3 conversations
""",
    "load_balancing": """\
4 queries, in sync: True
handler-1 answered 2
handler-2 answered 2
last on delivery: Query about delivery times, answered by handler-2.
no failover: no warm passive robot can take over from handler-1
active ['handler-2', 'handler-3']
""",
    "disaster_recovery": """\
active ['primary'], passive ['dr-standby']
the primary was killed after 100 acknowledged memories
promoted: dr-standby
lost: 0
the standby goes on: True
active ['dr-standby'], failed ['primary'], epoch {epoch}
""",
    "memory": """\
said 2 times, kept once
refund: 3, of Ann: ['Ann is waiting for a refund.']
tickets: 2, today: 0
said today: 3
version 3: [('policy:refunds',)]
counted: access, recency, similarity, tags, total
version 2, before that: Ann lives in Cork.
related: [('Ann lives in Galway.', 0.5)]
widened: ['Ann is waiting for a refund.', 'Ann lives in Galway.']
meant profile:address, of ['ticket:refund', 'policy:refunds', 'profile:address']
left the working memory: 4
a context of at most 40 tokens:
Ann is waiting for a refund.

Ann lives in Galway.
erased of Ann: 2, of others: 1
Ann is forgotten: True
""",
}


def run(example: str, dsn: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{example}.py"],
        env=os.environ | {"ROBOTGROUPS_DSN": dsn},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_example_has_its_test() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("example", EXPECTED)
def test_the_example_shows_what_it_says(example: str, dsn: str) -> None:
    assert run(example, dsn) == EXPECTED[example].format(epoch=3)
    assert run(example, dsn) == EXPECTED[example].format(epoch=8)
