"""etcd, the API server, the controller manager and the scheduler."""

import base64
import json
import secrets
from pathlib import Path

from localcluster.api import URL, Api
from localcluster.commands import run, wait_for
from localcluster.console import ClusterError
from localcluster.machine import start_daemon
from localcluster.processes import Process
from localcluster.settings import (
    API_PORT,
    API_SERVER,
    NODE_CONFIG,
    SERVICES,
    Machine,
    Places,
)

ETCD = "http://127.0.0.1:2379"  # on the control plane's own loopback
SYSTEM_USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
}


def create_credentials(places: Places, nodes: list[Machine]) -> None:
    """Writes the token of every component and the key that signs service accounts' tokens."""
    places.pki.mkdir(parents=True, mode=0o700)
    run("openssl", "genrsa", "-out", places.pki / "service-accounts.key", "2048")
    users = SYSTEM_USERS | {node.name: (f"system:node:{node.name}", "system:nodes") for node in nodes}
    lines = []
    for name, (user, group) in users.items():
        token = secrets.token_hex(20)
        lines.append(f'{token},{user},{name},"{group}"')
        (places.pki / f"{name}.token").write_text(token)
    (places.pki / "tokens.csv").write_text("\n".join(lines) + "\n")


def write_kubeconfig(places: Places, user: str, path: Path) -> None:
    """Writes a component's kubeconfig, complete in itself; the API server must have made its certificate."""
    name = "robotgroups-local"
    authority = base64.b64encode((places.pki / "apiserver.crt").read_bytes()).decode()
    token = (places.pki / f"{user}.token").read_text()
    path.touch(mode=0o600)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": URL, "certificate-authority-data": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    path.write_text(json.dumps(config, indent=2) + "\n")


def start(machine: Machine, holder: Process, places: Places) -> Api:
    """Starts the four daemons and returns once the API server is ready."""
    start_daemon(
        machine,
        holder,
        places,
        "etcd",
        "etcd",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # the cluster's own records need not outlive a power cut
        "--log-level=warn",
    )
    start_daemon(
        machine,
        holder,
        places,
        "apiserver",
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--cert-dir={NODE_CONFIG}",
        f"--bind-address={API_SERVER}",
        f"--secure-port={API_PORT}",
        f"--advertise-address={API_SERVER}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-account-key-file={NODE_CONFIG}/service-accounts.key",
        f"--service-account-signing-key-file={NODE_CONFIG}/service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        f"--token-auth-file={NODE_CONFIG}/tokens.csv",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--enable-aggregator-routing=true",  # no kube-proxy here: webhooks are called at their pods' addresses
    )
    api = Api(places)
    wait_for("readiness of the API server", 90, lambda: _alive_and_ready(holder, places, api), every=0.2)
    write_kubeconfig(places, "admin", places.kubeconfig)
    for component in ("controller-manager", "scheduler"):
        write_kubeconfig(places, component, places.pki / f"{component}.kubeconfig")
    credentials = f"--kubeconfig={NODE_CONFIG}/controller-manager.kubeconfig"
    start_daemon(
        machine,
        holder,
        places,
        "controller-manager",
        "kube-controller-manager",
        credentials,
        f"--service-account-private-key-file={NODE_CONFIG}/service-accounts.key",
        f"--root-ca-file={NODE_CONFIG}/apiserver.crt",
        "--use-service-account-credentials",
        "--leader-elect=false",
    )
    scheduler = f"--kubeconfig={NODE_CONFIG}/scheduler.kubeconfig"
    start_daemon(machine, holder, places, "scheduler", "kube-scheduler", scheduler, "--leader-elect=false")
    return api


def _alive_and_ready(holder: Process, places: Places, api: Api) -> bool:
    if not holder.alive:
        raise ClusterError("the control plane's machine ended while it started")
    return (places.pki / "apiserver.crt").exists() and api.ready()
