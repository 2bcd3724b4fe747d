"""Debian packages that the cluster and the image builds need."""

import os
import shutil

from localcluster.commands import run
from localcluster.console import ClusterError, step

PACKAGES = (
    "buildah",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "mmdebstrap",
    "nftables",
    "openssl",
    "runc",
    "util-linux",
)


def missing() -> list[str]:
    """Packages that are not installed."""
    query = run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *PACKAGES, check=False)
    installed = {line.split()[0] for line in query.splitlines() if line.endswith(" installed")}
    return [package for package in PACKAGES if package not in installed]


def install() -> None:
    """Installs what is missing; a ClusterError says what to do where that is not possible."""
    if not shutil.which("dpkg-query"):
        raise ClusterError(f"the local cluster needs Debian or a derivative, with: {' '.join(PACKAGES)}")
    if not (wanted := missing()):
        return
    if os.geteuid() != 0:
        raise ClusterError(f"packages are missing; as root: apt-get install {' '.join(wanted)}")
    with step(f"install Debian packages: {' '.join(wanted)}", "30 s"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-qq", env=quiet)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted, env=quiet)
