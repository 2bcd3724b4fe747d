"""The cluster that tests and the demo use, whichever it is: `choose()`, then one small interface."""

from clusters.choice import choose
from clusters.interface import Cluster, UnsupportedError

__all__ = ["Cluster", "UnsupportedError", "choose"]
