"""Finds the pinned programs of the local cluster (etcd, kube-apiserver, kubectl, helm) for tests."""

import os
import shutil
import subprocess
from collections.abc import Callable

from localcluster.settings import Places, cache

Helm = Callable[..., subprocess.CompletedProcess[str]]
"""Runs helm with these arguments and returns how it ended."""


def program(name: str) -> str:
    """The path of a program: the one that the local cluster built, else one on PATH; RuntimeError with the remedy."""
    directories = os.pathsep.join([str(Places(cache()).bin), os.environ["PATH"]])
    path = shutil.which(name, path=directories)
    if path is None:
        raise RuntimeError(f"{name} is missing: run hack/local-cluster/cluster build, which builds it once")
    return path
