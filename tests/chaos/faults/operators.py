"""The operator: killed; two of them at once."""

import signal

from typing_extensions import override

from demo.kube import wait_until
from tests.chaos.faults.base import Effect, Fault, RobotFault
from tests.chaos.ground import OPERATOR_DEPLOYMENT

CONTAINER = "operator"


class OperatorKilled(Fault):
    """SIGKILL to the operator's process. No robot minds."""

    kind = "operator SIGKILL"
    weight = 1.5

    @override
    def aim(self) -> Effect:
        return Effect("its process")

    @override
    def inject(self) -> None:
        for pod in self.ground.operator_pods():
            self.ground.main_process(pod, CONTAINER).send(signal.SIGKILL)


class TwoOperators(RobotFault):
    """A second operator, and a robot killed before the eyes of both: one promotion."""

    kind = "two operators, and a robot killed"
    weight = 0.5

    @property
    @override
    def hold_s(self) -> float:
        return 3.0

    @override
    def inject(self) -> None:
        self.ground.group.kube.patch(OPERATOR_DEPLOYMENT, {"spec": {"replicas": 2}})
        wait_until("two operators", 30, lambda: self._ready() == 2)
        self.ground.process(self.robot).send(signal.SIGKILL)

    @override
    def heal(self) -> None:
        self.ground.group.kube.patch(OPERATOR_DEPLOYMENT, {"spec": {"replicas": 1}})

    def _ready(self) -> int:
        found = self.ground.group.kube.get(OPERATOR_DEPLOYMENT) or {}
        return int(found.get("status", {}).get("readyReplicas", 0))
