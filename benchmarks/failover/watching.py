"""When the resource's status shows something: a watch of one RobotGroup, in a thread."""

from __future__ import annotations

import threading
import time
from typing import Any

from kubernetes import client, config, watch

from demo.groups import Group
from localcluster.console import ClusterError

PART_S = 60  # a watch is asked for anew after this time
WAIT_S = 60.0
PAUSE_S = 0.2


class StatusWatch:
    """Notes each status of a group with the moment (monotonic, ns) at which it came; a context manager."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._api = client.CustomObjectsApi(config.new_client_from_config(group.kube.environment["KUBECONFIG"]))  # type: ignore[no-untyped-call]
        self._seen: list[tuple[int, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> StatusWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True  # the thread ends with its connection, at the latest with us

    def forget(self) -> None:
        """What was seen so far is of no interest any more."""
        with self._changed:
            self._seen.clear()

    def first(self, epoch: int, active: str) -> int:
        """When the status showed first this robot active, at this epoch or later. ClusterError after a minute."""

        def found() -> int | None:
            shown = (at for at, s in self._seen if s.get("epoch", 0) >= epoch and active in s.get("active", []))
            return next(shown, None)

        with self._changed:
            if not self._changed.wait_for(lambda: found() is not None, WAIT_S):
                raise ClusterError(f"the status did not show {active} active at epoch {epoch} within {WAIT_S:.0f} s")
            at = found()
        assert at is not None
        return at

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._listen()
            except (client.ApiException, OSError):
                time.sleep(PAUSE_S)  # the API server was away for a moment: ask again

    def _listen(self) -> None:
        stream = watch.Watch().stream(  # type: ignore[no-untyped-call]
            self._api.list_namespaced_custom_object,
            "robotgroups.dev",
            "v1alpha1",
            self._group.namespace,
            "robotgroups",
            field_selector=f"metadata.name={self._group.name}",
            timeout_seconds=PART_S,
        )
        for event in stream:
            at, status = time.monotonic_ns(), event["object"].get("status") or {}
            with self._changed:
                self._seen.append((at, status))
                self._changed.notify_all()
