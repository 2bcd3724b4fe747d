"""The process: settings, logs, HTTP server, signals."""

import asyncio
import contextlib
import signal
import sys

import structlog
import uvloop

from robotgroups_robot import logs, settings
from robotgroups_robot.app import create_app
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.server import create_server
from robotgroups_robot.settings import RobotSettings

EXIT_SETTINGS = 2
# Seconds that the heart's thread waits at most while another one computes: Python's 5 ms, at each of its steps, would
# be most of a failover.
SWITCH_INTERVAL_S = 0.0005

logger = structlog.get_logger(__name__)


class Signals:
    """SIGTERM and SIGINT: the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def install(self) -> None:
        """Listens on the running loop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        logger.info("signal", name=signal.Signals(number).name, second=self.stop.is_set())
        (self.hurry if self.stop.is_set() else self.stop).set()


async def serve(robot: RobotSettings) -> int:
    """Runs the robot until a signal; returns the exit code."""
    runtime = Runtime(robot)
    server = create_server(create_app(runtime, robot.read_token()), robot.listen_address, robot.port)
    signals = Signals()
    signals.install()
    serving = asyncio.create_task(server.serve(), name="http")
    running = asyncio.create_task(runtime.run(), name="robot")
    told = asyncio.create_task(signals.stop.wait(), name="signal")
    try:
        await _until_told(told, serving, running)
        await _drain(runtime, signals, robot.drain_seconds)
    finally:
        runtime.ending.set()
        server.should_exit = True
        server.force_exit = signals.hurry.is_set()
        await serving
        running.cancel()
        await asyncio.wait([running])
        await runtime.stop()
    logger.info("stopped")
    return 0


async def _until_told(told: asyncio.Task[bool], serving: asyncio.Task[None], running: asyncio.Task[None]) -> None:
    """Returns at the first signal. What fails before (a bug, a port that is taken) is raised."""
    watched: set[asyncio.Task[None] | asyncio.Task[bool]] = {told, serving, running}
    while not told.done():
        done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if serving.done() and not told.done():
            raise RuntimeError("the HTTP server has ended by itself")


async def _drain(runtime: Runtime, signals: Signals, seconds: float) -> None:
    """Hands over, then goes on serving (forwarding) until every node knows that requests no longer come here."""
    await runtime.hand_over()
    runtime.ending.set()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(signals.hurry.wait(), seconds)


def main() -> None:
    """The console script `robotgroups-robot`. Exits 0 after a signal, 2 when a setting is wrong."""
    try:
        robot = settings.load()
        secrets = [robot.read_token(), *logs.passwords(robot.read_dsn()), *robot.model_secrets()]
    except settings.SettingsError as error:
        sys.stderr.write(f"robotgroups-robot: settings are wrong\n{error}\n")
        sys.exit(EXIT_SETTINGS)
    redact = logs.configure(robot.log_level, robot.log_format, secrets=secrets, group=robot.group, robot=robot.robot)
    robot.tell_secrets(redact.hide_in)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    logger.info("starting", endpoint=robot.endpoint, settings=robot.describe())
    sys.exit(uvloop.run(serve(robot)))
