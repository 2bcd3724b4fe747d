import os
import signal
import subprocess
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from localcluster import cgroups, settings, state, volumes
from localcluster.leftovers import mounts
from localcluster.processes import Process, end, namespace_pids, start_time
from localcluster.settings import CGROUP, MAXIMUM_NODES, Places, machines, networks
from localcluster.state import State


def test_a_machine_has_a_link_name_that_the_kernel_takes() -> None:
    links = [machine.link for machine in machines(MAXIMUM_NODES)]
    assert len(set(links)) == MAXIMUM_NODES + 1
    assert max(map(len, links)) <= 15


@pytest.mark.parametrize("nodes", [0, MAXIMUM_NODES + 1])
def test_a_wrong_number_of_nodes_is_refused(nodes: int) -> None:
    with pytest.raises(ValueError, match=f"has 1 to {MAXIMUM_NODES} nodes, not {nodes}"):
        machines(nodes)


def test_no_two_networks_overlap() -> None:
    for one, other in combinations(map(ip_network, networks()), 2):
        assert not one.overlaps(other), (one, other)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.delenv("ROBOTGROUPS_CACHE", raising=False)
    assert settings.cache() == Path("/xdg/robotgroups")
    monkeypatch.setenv("ROBOTGROUPS_CACHE", "/mine")
    assert settings.cache() == Path("/mine")


def test_a_reused_pid_is_not_the_process_that_was_meant() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        real = Process.of(child.pid)
        other = Process(real.pid, real.started - 1)
        assert (real.alive, other.alive) == (True, False)
        other.send(signal.SIGKILL)
        assert child.poll() is None
        real.send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert not real.alive


def test_end_kills_and_returns_nothing_when_all_are_gone() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert end([Process.of(child.pid)], grace=5) == []
        assert child.wait() == -signal.SIGKILL


def test_our_own_process_is_found() -> None:
    assert start_time(os.getpid()) is not None
    assert namespace_pids(os.getpid())[0] == os.getpid()


def test_there_is_no_process_zero() -> None:
    assert start_time(0) is None
    assert namespace_pids(0) == ()


def _state(boot: str, *, ready: bool = True) -> State:
    ourselves = Process.of(os.getpid())
    return State("/cache", 1, boot, ready, dict.fromkeys(("control-plane", "node1"), ourselves))


def test_a_cluster_of_this_boot_whose_machines_live_is_whole() -> None:
    assert _state(state.BOOT_ID.read_text().strip()).whole
    assert not _state(state.BOOT_ID.read_text().strip(), ready=False).whole


def test_pids_of_another_boot_mean_nothing() -> None:
    before = _state("another-boot")
    assert not before.whole
    assert before.dead == ["control-plane", "node1"]
    assert before.living_holders() == []


def _volume(**changes: object) -> dict[str, Any]:
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [changes.get("node", "node1")]}
    return {
        "metadata": {"name": "node1-volume1"},
        "spec": {
            "storageClassName": changes.get("storage_class", "local"),
            "claimRef": changes.get("claim", {"name": "data"}),
            "local": {"path": changes.get("path", "/var/local/volumes/volume1")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
        },
        "status": {"phase": changes.get("phase", "Released")},
    }


def test_a_released_volume_is_emptied() -> None:
    assert volumes.released(_volume())
    expected = Places(Path("/cache")).run / "node1/var/local/volumes/volume1"
    assert volumes.directory(_volume(), Places(Path("/cache"))) == expected


@pytest.mark.parametrize("changes", [{"phase": "Bound"}, {"storage_class": "fast"}, {"claim": None}])
def test_no_other_volume_is(changes: dict[str, object]) -> None:
    assert not volumes.released(_volume(**changes))


@pytest.mark.parametrize("changes", [{"path": "/etc"}, {"node": "../../etc"}, {"node": ".."}])
def test_what_is_outside_of_the_nodes_volumes_is_never_emptied(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not the cluster's to empty"):
        volumes.directory(_volume(**changes), Places(Path("/cache")))


def test_emptying_takes_everything_and_gives_the_directory_back(tmp_path: Path) -> None:
    volume = tmp_path / "volume1"
    (volume / "pgdata").mkdir(parents=True)
    (volume / "pgdata" / "PG_VERSION").write_text("17")
    volume.chmod(0o2775)
    volumes.empty(volume)
    assert list(volume.iterdir()) == []
    assert volume.stat().st_mode & 0o7777 == 0o755


def test_mounts_are_those_at_or_below_a_directory() -> None:
    everything = mounts(Path("/"))
    assert "/proc" in everything
    assert mounts(Path("/proc"))[-1] == "/proc"
    assert mounts(Path("/nowhere")) == []


def test_groups_that_vanish_while_they_are_listed_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "pids" / CGROUP
    (top / "node1" / "pod-that-ends").mkdir(parents=True)
    (top / "node1" / "pod-that-stays").mkdir()
    (tmp_path / "pids" / "tasks").touch()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    looked_into = os.scandir

    def the_kernel_removes_it_first(path: Path | str) -> object:
        if str(path).endswith("pod-that-ends"):
            Path(path).rmdir()
        return looked_into(path)

    monkeypatch.setattr(os, "scandir", the_kernel_removes_it_first)
    assert cgroups.groups() == [top / "node1" / "pod-that-stays", top / "node1", top]


def test_version_2_has_its_controllers_before_anything_is_weighed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group has cpu.weight only once the one above has handed the controller down: the daemons' come first."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    (file,) = cgroups.create_for_daemons("node1")
    assert file == tmp_path / CGROUP / "node1-system" / "cgroup.procs"
    for level in (tmp_path, tmp_path / CGROUP):
        assert (level / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert cgroups.create_for_kubelet("node1") == f"/{CGROUP}/node1"
    groups = ("", "node1", "node1-system")
    weights = [(tmp_path / CGROUP / group / "cpu.weight").read_text() for group in groups]
    assert weights == [str(w) for w in (cgroups.CLUSTER_WEIGHT, cgroups.PODS_WEIGHT, cgroups.DAEMONS_WEIGHT)]
