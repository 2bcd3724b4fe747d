"""Runs in a peer's pod, sent there as text: an HTTP server that answers 200 while it leads, 503 while another one does.

With ``LEASE`` in the environment it leads by ``kubernetes.leaderelection`` with client-go's usual times; else always.
"""

import http.server
import os
import threading
import uuid

leading = threading.Event()


class Answer(http.server.BaseHTTPRequestHandler):
    """GET / asks for the leader, GET /alive for the process."""

    def do_GET(self) -> None:
        """200 or 503."""
        good = self.path == "/alive" or leading.is_set()
        self.send_response(200 if good else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def elect(lease: str, namespace: str) -> None:
    """Leads once the lease is ours; ends the process when it is lost, as client-go's users do."""
    # the pod without a lease has no such library
    from kubernetes import config  # noqa: PLC0415
    from kubernetes.leaderelection.electionconfig import Config  # noqa: PLC0415
    from kubernetes.leaderelection.leaderelection import LeaderElection  # noqa: PLC0415
    from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock  # noqa: PLC0415

    def lead() -> None:
        leading.set()
        threading.Event().wait()

    config.load_incluster_config()  # type: ignore[no-untyped-call]
    # a name of its own for each run of the process, as the components of Kubernetes have
    lock = LeaseLock(lease, namespace, f"{os.environ['HOSTNAME']}_{uuid.uuid4()}")  # type: ignore[no-untyped-call]
    times = {"lease_duration": 15, "renew_deadline": 10, "retry_period": 2}
    callbacks = {"onstarted_leading": lead, "onstopped_leading": lambda: os._exit(1)}
    LeaderElection(Config(lock, **times, **callbacks)).run()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("", 8080), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if "LEASE" in os.environ:
        elect(os.environ["LEASE"], os.environ["NAMESPACE"])
    else:
        leading.set()
        threading.Event().wait()
