"""Postgres' data on a small file system of their own, so that a disk can be full without being the machine's."""

from dataclasses import dataclass

from on_cluster import POSTGRES

from demo import release
from demo.kube import Kube, wait_until
from localcluster import machine, state
from localcluster.console import ClusterError, step

SET = f"/apis/apps/v1/namespaces/{release.NAMESPACE}/statefulsets/{release.NAME}-postgres"
CLAIM = f"/api/v1/namespaces/{release.NAMESPACE}/persistentvolumeclaims/data-{release.NAME}-postgres-0"
IMAGE, ELSEWHERE, FILLER = "/var/tmp/chaos-volume.img", "/var/tmp/chaos-volume", ".chaos-filler"
SIZE = "3G"  # sparse: it takes what is written
READY_S = 120

# In the node: the data move into a file system in a file, which takes the place of the volume's directory; and back.
SWAP_IN = f"""
truncate --size {SIZE} {IMAGE}; mkfs.ext4 -q -m 0 {IMAGE}; mkdir -p {ELSEWHERE}
mount -o loop {IMAGE} {ELSEWHERE}; cp -a "$1/." {ELSEWHERE}; umount {ELSEWHERE}
mount -o loop {IMAGE} "$1"
"""
SWAP_OUT = f"""
umount "$1"; mkdir -p {ELSEWHERE}; mount -o loop {IMAGE} {ELSEWHERE}
find "$1" -mindepth 1 -delete; rm -f {ELSEWHERE}/{FILLER}; cp -a {ELSEWHERE}/. "$1"; rmdir "$1/lost+found"
umount {ELSEWHERE}; rm {IMAGE}; rmdir {ELSEWHERE}
"""
FILL = f"""
cd "$1"; fallocate --length "$(df --output=avail --block-size=1 . | tail -n 1)" {FILLER} || true
dd if=/dev/zero of={FILLER} oflag=append conv=notrunc bs=4096 2>/dev/null || true
"""


@dataclass(frozen=True)
class SmallVolume:
    """The volume of Postgres' claim on the local cluster: `path` on `node`."""

    kube: Kube
    node: str
    path: str

    @classmethod
    def of(cls, kube: Kube) -> "SmallVolume":
        """The volume of the release, which is installed; ClusterError when its data are elsewhere."""
        claim = kube.get(CLAIM)
        volume = claim and kube.get(f"/api/v1/persistentvolumes/{claim['spec'].get('volumeName')}")
        if not volume or "local" not in volume["spec"]:
            raise ClusterError("Postgres' data are on no local volume: the disk cannot be filled")
        terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        return cls(kube, terms[0]["matchExpressions"][0]["values"][0], volume["spec"]["local"]["path"])

    def swap_in(self) -> None:
        """Stops Postgres, moves its data to the small file system, starts it."""
        with step("Postgres' data on a small file system"):
            self._without_postgres(SWAP_IN)

    def swap_out(self) -> None:
        """Moves the data back; nothing to do when they are not there."""
        if IMAGE in self._run(
            'findmnt --noheadings --output SOURCE --target "$1" | xargs losetup --noheadings --output BACK-FILE || true'
        ):
            with step("Postgres' data back on their volume"):
                self._without_postgres(SWAP_OUT)

    def fill(self) -> None:
        """To the last byte."""
        self._run(FILL)

    def drain(self) -> None:
        """There is room again."""
        self._run(f'rm -f "$1/{FILLER}"')

    def _without_postgres(self, script: str) -> None:
        self.kube.patch(SET, {"spec": {"replicas": 0}})
        pod = f"/api/v1/namespaces/{release.NAMESPACE}/pods/{POSTGRES}"
        wait_until("Postgres' end", READY_S, lambda: self.kube.get(pod) is None)
        try:
            self._run(script)
        finally:
            self.kube.patch(SET, {"spec": {"replicas": 1}})
        wait_until("Postgres ready", READY_S, self._ready)

    def _ready(self) -> bool:
        return bool((self.kube.get(SET) or {}).get("status", {}).get("readyReplicas") == 1)

    def _run(self, script: str) -> str:
        holder = state.running().holders[self.node]
        return machine.execute(holder, "sh", "-euc", script, "sh", self.path)
