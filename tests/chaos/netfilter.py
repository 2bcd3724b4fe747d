"""Rules of nftables in the network of a pod."""

import os

from localcluster.commands import run
from localcluster.processes import Process


class Rules:
    """One table in the network in which a process lives. The network is the pod's: it outlives the process."""

    def __init__(self, process: Process, table: str) -> None:
        self._network = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
        self._table = table

    def put(self, *chains: str) -> None:
        """Makes the table with these chains; ClusterError when they are not understood."""
        self._nft(f"table ip {self._table} {{", *chains, "}")

    def remove(self) -> None:
        """Removes the table, be it there or not; safe to call twice."""
        if self._network >= 0:
            self._nft(f"table ip {self._table} {{ }}", f"delete table ip {self._table}")
            os.close(self._network)
            self._network = -1

    def _nft(self, *lines: str) -> None:
        network = f"--net=/proc/{os.getpid()}/fd/{self._network}"
        run("nsenter", network, "--", "nft", "--file", "-", stdin="\n".join(lines) + "\n")
