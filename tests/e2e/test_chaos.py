"""A short run of chaos (docs/chaos.md): some faults under load, and the checker's verdict."""

import math
from pathlib import Path

from on_cluster import Stage

from tests.chaos.faults.postgres import BackendKilled, SessionsEnded
from tests.chaos.faults.robots import PodDeleted, RobotKilled
from tests.chaos.plan import Choice, Plan, Step
from tests.chaos.run import Run

SEED = 5
STEPS = (
    Step((Choice(RobotKilled.kind, "active", 0.0, 0.0), Choice(SessionsEnded.kind, "any", 0.3, 0.7, delay=0.5)), 0.5),
    Step((Choice(BackendKilled.kind, "any", 0.5, 0.5),), 0.5),
    Step((Choice(PodDeleted.kind, "active", 0.0, 0.0),), 0.5),
)


def test_nothing_is_lost_doubled_or_stale(stage: Stage, quiet: None, tmp_path: Path) -> None:
    run = Run(stage, SEED, Plan(1, STEPS), tmp_path, until=math.inf, fresh=False)
    result, history = run.execute()
    assert (run.trouble, result.violations) == ("", ())
    assert [fault.kind for fault in history.faults if not fault.upkeep] == [
        RobotKilled.kind,
        SessionsEnded.kind,
        BackendKilled.kind,
        PodDeleted.kind,
    ]
    assert result.acknowledged > 0
