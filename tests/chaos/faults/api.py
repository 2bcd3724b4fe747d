"""The API server: away for half a minute; slow and unreliable, through a proxy that only the operator goes through."""

import random
import signal
from typing import ClassVar

from typing_extensions import override

from localcluster.processes import Process
from localcluster.settings import API_PORT, API_SERVER, CONTROL_PLANE, GATEWAY
from tests.chaos.faults.base import Effect, Fault, RobotFault
from tests.chaos.netfilter import Rules
from tests.chaos.proxy import Manners, Proxy

TABLE = "chaos_api"


class ApiAway(RobotFault):
    """The API server is stopped for 30 seconds, and a robot is killed meanwhile: it is replaced all the same."""

    kind = "API server 30 s away, and a robot killed"
    slow = True
    limit_s = 180.0

    _server: Process | None = None

    @property
    @override
    def hold_s(self) -> float:
        return 30.0

    @override
    def inject(self) -> None:
        robot = self.ground.process(self.robot)
        self._server = self.ground.daemon(CONTROL_PLANE, "kube-apiserver")
        self._server.send(signal.SIGSTOP)
        robot.send(signal.SIGKILL)

    @override
    def heal(self) -> None:
        if self._server is not None:
            self._server.send(signal.SIGCONT)


class ApiUnreliable(Fault):
    """For some seconds, whatever the operator and the API server say to each other is late, and connections break."""

    kind = "API latency and drops"
    manners: ClassVar[Manners] = Manners(least_s=0.05, most_s=0.5, breaks_per_s=0.3)

    _proxy: Proxy | None = None

    @property
    @override
    def hold_s(self) -> float:
        return self.between(3.0, 8.0)

    @override
    def aim(self) -> Effect:
        self._rules: list[Rules] = []
        return Effect(f"for {self.hold_s:.1f} s, by 50 to 500 ms, each connection breaks after 3 s on average")

    @override
    def inject(self) -> None:
        dice = random.Random(self.choice.which)
        self._proxy = Proxy(GATEWAY, (API_SERVER, API_PORT), self.manners, dice)
        self._proxy.start()
        address = self.ground.service_address("default", "kubernetes")
        rule = f"ip daddr {address} tcp dport 443 dnat to {GATEWAY}:{self._proxy.port}"
        # what is open does not go through it: it breaks, and comes back through it
        through = f"chain output {{ type nat hook output priority -100; {rule}; }}"
        reset = f"ip daddr {address} tcp dport 443 reject with tcp reset"
        cut = f"chain cut {{ type filter hook output priority 0; {reset}; }}"
        for pod in self.ground.operator_pods():
            rules = Rules(self.ground.main_process(pod, "operator"), TABLE)
            self._rules.append(rules)
            rules.put(through, cut)

    @override
    def heal(self) -> None:
        for rules in self._rules:
            rules.remove()
        if self._proxy is not None:
            self._proxy.stop()
