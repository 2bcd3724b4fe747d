"""`python hack/demo` (`make demo`): exits 0 when every step held, else 1, 130 after Ctrl-C. DEMO_JSON=f writes f."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

HACK = Path(__file__).resolve().parents[1]
if str(HACK) not in sys.path:  # run as a directory: it is not on the path, this one is
    sys.path[:] = [str(HACK), str(HACK / "local-cluster"), *(p for p in sys.path if p != str(HACK / "demo"))]

from clusters import choose  # noqa: E402
from demo import session  # noqa: E402
from demo.report import Report  # noqa: E402
from localcluster.console import ClusterError, say  # noqa: E402


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows is the cleaning up
    raise KeyboardInterrupt


def main() -> int:
    """Runs the demo on the chosen cluster; the table is printed, and the JSON written, however far it came."""
    signal.signal(signal.SIGTERM, _interrupt)
    report, problem = Report(), ""
    try:
        cluster = choose()
        say(f"cluster: {cluster.describe()}")
        session.run(cluster, report)
    except (ClusterError, FileNotFoundError) as error:
        problem = str(error)
    except KeyboardInterrupt:
        say("interrupted: the client is removed, the rest stays; run `make demo` again, it starts anew")
        return 130
    if report.rows:
        report.show()
    if problem:
        say(f"demo: {problem}")
    if path := os.environ.get("DEMO_JSON"):
        report.write(Path(path))
    if report.ok and not problem:
        say(f"all held. Look around: kubectl -n {session.NAMESPACE} get robotgroups,pods; remove it: make cluster-down")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
