"""Up and down."""

import shutil
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from localcluster import addons, binaries, cgroups, control_plane, leftovers, machine, network, node, state
from localcluster.api import Api
from localcluster.commands import at_once, run, wait_for
from localcluster.console import ClusterError, say, step
from localcluster.processes import end
from localcluster.settings import CONTROL_PLANE, SOURCE, STATE, Places
from localcluster.state import State


def up(places: Places, nodes: int) -> State:
    """Brings the cluster up, or finds it up; what a dead one left behind is cleared away first."""
    with state.locked():
        found = state.read()
        if found and found.whole:
            if found.nodes != nodes:
                raise ClusterError(f"the local cluster is up with {found.nodes} nodes, not {nodes}: run down first")
            say(f"the local cluster is up already: {found.nodes} nodes, {found.places.kubeconfig}")
            return found
        if remains := leftovers.find(found.places if found else places, found):
            say(f"clearing away what a cluster that ended uncleanly left: {len(remains)} things")
            _clear(found.places if found else places, found)
        binaries.build(places)
        network.refuse_collision()
        started = time.monotonic()
        fresh = State.fresh(places.cache, nodes)
        try:
            ready = _start(places, fresh)
        except BaseException:
            try:
                say("the cluster did not come up: clearing away")
                _keep_logs(places)
            finally:  # even when nobody reads what is said any more
                _clear(places, state.read())
            raise
        say(f"the local cluster is up after {time.monotonic() - started:.1f} s: {places.kubeconfig}")
        return ready


def _start(places: Places, fresh: State) -> State:
    state.write(fresh)
    places.logs.mkdir(parents=True)
    places.run.chmod(0o700)
    plane, *nodes = fresh.machines
    with step(f"machines: {', '.join(each.name for each in fresh.machines)}"):
        network.create_bridge()
        current = fresh
        for each in fresh.machines:
            holder = machine.boot(each, places)
            current = current.with_holder(each, holder)
            state.write(current)
            machine.furnish(each, holder, places, fresh.machines)
        network.add_host_routes(fresh.machines)
    with step("control plane"):
        control_plane.create_credentials(places, nodes)
        api = control_plane.start(plane, current.holders[plane.name], places)
    with step("nodes: containerd, kubelet, kube-proxy"):
        archives = binaries.archives(places)
        at_once([partial(node.start, each, current.holders[each.name], places, archives) for each in nodes])
        addons.install_dns(api)
        addons.install_storage(api, nodes)
        _start_volumes_daemon(places, current)
        wait_for("readiness of the nodes", 90, lambda: _ready_nodes(api) >= len(nodes), every=0.25)
    with step("DNS"):
        wait_for("readiness of CoreDNS on every node", 90, lambda: addons.dns_ready(api, len(nodes)), every=0.25)
    ready = State(current.cache, current.nodes, current.boot, ready=True, holders=current.holders)
    state.write(ready)
    return ready


def _start_volumes_daemon(places: Places, current: State) -> None:
    plane = current.machines[0]
    machine.start_daemon_on_host_files(
        plane,
        current.holders[CONTROL_PLANE],
        places,
        "volumes",
        *("env", f"PYTHONPATH={SOURCE}", "PYTHONDONTWRITEBYTECODE=1"),
        *(sys.executable, "-m", "localcluster.volumes", str(places.cache)),
    )


def _ready_nodes(api: Api) -> int:
    ready = 0
    for each in api.get("/api/v1/nodes")["items"]:
        conditions = {condition["type"]: condition["status"] for condition in each["status"].get("conditions", [])}
        ready += conditions.get("Ready") == "True"
    return ready


def down(places: Places) -> list[str]:
    """Ends the cluster; returns what could not be removed (nothing, unless something is wrong)."""
    with state.locked():
        try:
            found = state.read()
        except ClusterError as damaged:
            say(f"{damaged}; going by control groups alone")
            found = None
        its_places = found.places if found else places
        if not leftovers.find(its_places, found):
            say("no local cluster is up, and nothing is left of one")
            return []
        with step("end the cluster"):
            _clear(its_places, found)
        return leftovers.find(its_places, None)


def _clear(places: Places, found: State | None) -> None:
    """Removes everything of the cluster, in the order in which one part holds the next."""
    holders = found.living_holders() if found else []
    stubborn = end(holders, grace=10)  # with its first process the kernel ends all of a machine
    stubborn += end(cgroups.members(), grace=10)  # what had not reached its machine yet when `up` was broken off
    if stubborn:
        raise ClusterError(f"processes do not end: {', '.join(str(process.pid) for process in stubborn)}")
    network.remove()
    for point in leftovers.mounts(places.run):
        run("umount", "--lazy", point, check=False)
    cgroups.remove(grace=10)
    _remove_tree(places.run)
    STATE.unlink(missing_ok=True)


def _remove_tree(path: Path) -> None:
    for _attempt in range(20):  # the last mounts of a namespace are dropped just after its last process
        with suppress(FileNotFoundError, OSError):
            shutil.rmtree(path)
        if not path.exists():
            return
        time.sleep(0.1)
    raise ClusterError(f"cannot remove {path}")


def _keep_logs(places: Places) -> None:
    if places.logs.is_dir():
        shutil.rmtree(places.last_logs, ignore_errors=True)
        shutil.copytree(places.logs, places.last_logs)
        say(f"the daemons' logs are in {places.last_logs}")
