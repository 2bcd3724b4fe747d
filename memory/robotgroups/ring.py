"""The ring in which robots watch each other: pure."""

from __future__ import annotations

from collections.abc import Iterable

from robotgroups.models import Peer


def neighbour(name: str, peers: Iterable[Peer]) -> Peer | None:
    """Whom ``name`` watches: the next one by name, after the last the first. Those without a doorbell are passed over.

    So each robot that has one is watched by exactly one other; when that one dies too, the ring closes over both.
    """
    ringing = sorted((peer for peer in peers if peer.doorbell and peer.name != name), key=lambda peer: peer.name)
    return next((peer for peer in ringing if peer.name > name), ringing[0] if ringing else None)
