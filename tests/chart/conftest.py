"""The chart and the resource with the real helm, and against a real API server (no nodes)."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer
from programs import Helm, program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def chart(root: Path) -> Path:
    return root / "charts" / "robotgroups"


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Runs helm and returns how it ended, with settings of its own."""
    home = tmp_path_factory.mktemp("helm")
    environment = {"HOME": str(home)}

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [program("helm"), *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)

    return run


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """An API server with nothing in it."""
    server = ApiServer()
    server.start()
    yield server
    server.stop()
