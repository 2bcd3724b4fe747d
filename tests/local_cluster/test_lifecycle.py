"""The local cluster itself: a second one beside whatever runs, brought up, broken and ended. Needs root."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "hack" / "local-cluster" / "cluster"
INSTANCE = "7"
STATE = Path(f"/run/robotgroups-local-cluster-{INSTANCE}.json")
ENVIRONMENT = os.environ | {"ROBOTGROUPS_CLUSTER_INSTANCE": INSTANCE}

pytestmark = pytest.mark.timeout(180)


def cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CLUSTER, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False)


def leftovers() -> str:
    return cluster("leftovers").stdout.strip()


@pytest.fixture(autouse=True)
def _nothing_before_and_after() -> Iterator[None]:
    assert leftovers() == "nothing"
    yield
    cluster("down")
    assert leftovers() == "nothing"


def test_up_and_down_leave_nothing_and_may_be_repeated() -> None:
    first = cluster("up", "1")
    assert first.returncode == 0, first.stderr
    kubeconfig = first.stdout.strip()
    again = cluster("up", "1")
    assert (again.returncode, again.stdout.strip()) == (0, kubeconfig)
    assert "is up already" in again.stderr
    assert cluster("status").returncode == 0
    nodes = json.loads(cluster("kubectl", "get", "nodes", "-o", "json").stdout)["items"]
    assert [node["metadata"]["name"] for node in nodes] == ["node1"]

    pid = int(_dns_pod_pid())
    cluster("cut", "node1")
    assert "node1: 198.18.7.11, cut off" in cluster("status").stdout
    cluster("heal", "node1")
    os.kill(pid, 0)  # the container lives on this machine, and a cut does not end it

    ended = cluster("down")
    assert ended.returncode == 0, ended.stderr
    assert leftovers() == "nothing"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not Path(kubeconfig).exists()
    assert cluster("down").returncode == 0


def _dns_pod_pid() -> str:
    listed = json.loads(cluster("kubectl", "-n", "kube-system", "get", "pods", "-o", "json").stdout)
    name = listed["items"][0]["metadata"]["name"]
    return cluster("pid", "kube-system", name, "coredns").stdout


def test_up_clears_away_what_an_unclean_end_left() -> None:
    assert cluster("up", "1").returncode == 0
    for holder in json.loads(STATE.read_text())["holders"].values():
        os.kill(holder["pid"], signal.SIGKILL)
    STATE.unlink()  # even the record is lost
    assert "link robotgroups7" in leftovers()
    again = cluster("up", "1")
    assert again.returncode == 0, again.stderr
    assert "clearing away what a cluster that ended uncleanly left" in again.stderr
    assert cluster("kubectl", "get", "--raw", "/readyz").stdout == "ok"


def _hear_interrupts() -> None:
    """As at a terminal: a background job, as a CI run may be, ignores SIGINT, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("reached", "number"),
    [
        ("==> machines", signal.SIGINT),
        ("==> control plane", signal.SIGINT),
        ("==> nodes", signal.SIGINT),
        ("==> nodes", signal.SIGTERM),
    ],
)
def test_an_interrupted_start_leaves_nothing(reached: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        [CLUSTER, "up", "1"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509  no thread runs here
    ) as starting:
        assert starting.stderr is not None
        for line in starting.stderr:
            if line.startswith(reached):
                break
        starting.send_signal(number)
        starting.stderr.read()
        assert starting.wait() == 130
    assert leftovers() == "nothing"


def test_a_killed_start_is_cleared_away_by_down() -> None:
    with subprocess.Popen(
        [CLUSTER, "up", "1"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509  no thread runs here
    ) as starting:
        assert starting.stderr is not None
        with suppress(StopIteration):
            next(line for line in starting.stderr if line.startswith("==> nodes"))
        starting.kill()
    assert "directory" in leftovers()
    assert cluster("down").returncode == 0
