"""Each benchmark runs, in seconds and without meaning, and says what it promises. None of its figures is asserted.

Of the peers only HTM's statements are replayed here: the others are in the benchmarks' own virtual environment
(``make bench-smoke`` runs these tests there, with all of them).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 280  # a run takes 10 s on a quiet machine; this ends one that hangs
pytestmark = pytest.mark.timeout(LIMIT_S + 60)
PYTHON = os.environ.get("BENCH_PYTHON", sys.executable)
PEERS = os.environ.get("BENCH_PEERS", "htm")
PATHS = (ROOT, ROOT / "tests" / "support", ROOT / "hack" / "local-cluster")
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS))}

STRATEGIES = ["fulltext", "vector", "hybrid"]
KEYS = {
    "remember": [
        "c1_p50_ms", "c1_p99_ms", "c1_per_s", "c16_per_s", "c16_p99_ms", "c64_per_s", "groups100_c16_per_s",
        "http_c1_p50_ms", "http_c16_per_s",
    ],
    "sync": ["r100_p50_ms", "r100_p99_ms", "r1000_p50_ms", "r1000_p99_ms", "catch_up_10000_ms", "warm_up_ms"],
    "recall": [
        *(f"{s}_{size}_{p}_ms" for size in ("10k", "100k", "1m") for s in STRATEGIES for p in ("p50", "p99")),
        "recall_at_10", "recall_at_10_filtered",
    ],
    "context": ["p99_ms"],
    "memory": ["rss_mb", "pss_mb", "rss_empty_mb"],
    "quality": [f"{s}_{figure}" for s in STRATEGIES for figure in ("recall_at_10", "mrr")],
}  # fmt: skip
HTTP = {"http_c1_p50_ms", "http_c16_per_s"}
MILLION = {key for key in KEYS["recall"] if "_1m_" in key}
TRUTH = {"recall_at_10", "recall_at_10_filtered"}
LEXICAL = {key for key in KEYS["recall"] if key.startswith("fulltext") and key not in MILLION}
NEAR = {key for key in KEYS["recall"] if key.startswith("vector") and key not in MILLION}
# What there is not, by contender: no peer but HTM announces changes, LangGraph's store searches by vector alone, …
NONE_OF: Mapping[str, Mapping[str, set[str]]] = {
    "remember": dict.fromkeys(("limit", "langgraph", "langgraph_index", "mem0", "htm"), HTTP),
    "sync": {
        "htm": {"catch_up_10000_ms"},
        **{name: set(KEYS["sync"]) for name in ("langgraph", "langgraph_index", "mem0")},
    },
    "recall": {
        "ours": set(),
        "limit": set(),
        "langgraph": set(KEYS["recall"]),
        "langgraph_index": set(KEYS["recall"]) - NEAR - TRUTH,
        "mem0": MILLION,
        "htm": MILLION | TRUTH,
    },
    "context": {name: {"p99_ms"} for name in ("langgraph", "langgraph_index", "mem0", "htm")},
    "memory": {
        "limit": {"rss_empty_mb"},
        "htm": set(KEYS["memory"]),
        **{name: {"rss_empty_mb"} for name in ("langgraph", "langgraph_index", "mem0")},
    },
    "quality": {
        "langgraph": set(KEYS["quality"]),
        "langgraph_index": {key for key in KEYS["quality"] if not key.startswith("vector")},
    },
}
# A rate that a busy machine does not reach has no latency. In a quick run it may also be that nothing is found.
MAY_BE_NONE = {"sync": {key for key in KEYS["sync"] if key.startswith("r1")}}
MAY_BE_ZERO = {"quality": set(KEYS["quality"]), "recall": TRUTH}


def command(name: str, results: Path) -> list[str]:
    """`make bench-NAME`, without the picture: the tests' environment has no matplotlib."""
    return [
        PYTHON, "-m", f"benchmarks.{name}",
        "--quick", "--peers", PEERS, "--no-picture", "--results", str(results),
    ]  # fmt: skip


def ran(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs it to its end. One that hangs is asked to end, so that its server and robots end with it."""
    with subprocess.Popen(
        arguments, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def options_of(name: str) -> list[str]:
    return ["--million"] if name == "recall" else []


def contenders(result: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    return {"ours": result["figures"], "limit": result["limit"], **result["peers"]}


@pytest.mark.parametrize("name", list(KEYS))
def test_the_last_line_is_the_result(name: str, tmp_path: Path) -> None:
    done = ran([*command(name, tmp_path), *options_of(name)])
    assert done.returncode == 0, done.stderr
    *table, line = done.stdout.splitlines()
    result = json.loads(line)
    assert list(result) == ["name", "figures", "limit", "peers", "machine"]
    assert result["name"] == name
    assert list(result["peers"]) == PEERS.split(",")
    for contender, figures in contenders(result).items():
        assert list(figures) == KEYS[name]
        missing = {key for key, value in figures.items() if value is None}
        expected = NONE_OF[name].get(contender, set())
        assert expected <= missing <= expected | MAY_BE_NONE.get(name, set()), contender
        zeros = {key for key, value in figures.items() if value == 0}
        assert zeros <= MAY_BE_ZERO.get(name, set()), contender
    assert result["machine"]["postgres"]["fsync"] == "on"
    assert result["machine"]["postgres"]["synchronous_commit"] == "on"
    assert any(KEYS[name][0] in row for row in table)
    (file,) = tmp_path.iterdir()
    written = json.loads(file.read_text())
    assert {key: written[key] for key in result} == result
    assert list(written) == [*result, "details"]


def test_a_soak_ends_with_everything_as_it_must_be(tmp_path: Path) -> None:
    """It checks for itself: caches, invariants and bounds. Here only that it does, and what it says."""
    done = ran(
        [PYTHON, "-m", "benchmarks.soak", "--quick", "--changes", "3000", "--no-picture", "--results", str(tmp_path)]
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["name"] == "soak"
    assert result["figures"]["changes"] >= 3000
    assert result["figures"]["feed_changes_most"] >= 3000
    (file,) = tmp_path.iterdir()
    samples = json.loads(file.read_text())["details"]["samples"]
    assert [s["revision"] for s in samples] == sorted(s["revision"] for s in samples)
    assert samples[-1]["changes_bytes"] > 0


IDLE = [
    *(
        f"robots{size}_{figure}"
        for size in (3, 30, 300)
        for figure in ("queries_per_s", "bytes_per_s", "promoted_p50_ms", "promoted_p99_ms")
    ),
    "most_robots",
]
DOORBELL = [
    "ring_p50_ms", "ring_p99_ms", "proof_p50_ms", "proof_p99_ms",
    "backends", "backend_kb", "sockets", "kept_from_vacuum_same", "kept_from_vacuum_other",
]  # fmt: skip


def ran_alone(name: str, results: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs a benchmark that has peers of its own, or none: its last line, and the details in its file."""
    done = ran([PYTHON, "-m", f"benchmarks.{name}", "--quick", "--no-picture", "--results", str(results)])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    (file,) = results.iterdir()
    return result, json.loads(file.read_text())["details"]


def test_both_doorbells_ring_and_only_the_lock_costs_backends(tmp_path: Path) -> None:
    result, details = ran_alone("doorbell", tmp_path)
    contenders = {"ours": result["figures"], "limit": result["limit"], **result["peers"]}
    assert list(contenders) == ["ours", "limit", "tcp", "lock"]
    assert all(list(figures) == DOORBELL for figures in contenders.values())
    assert {key for key, value in contenders["limit"].items() if value is not None} == {"ring_p50_ms", "ring_p99_ms"}
    assert [contenders[name]["backends"] for name in ("ours", "tcp", "lock")] == [0, 0, 2]
    vacuum = ("kept_from_vacuum_same", "kept_from_vacuum_other")
    assert [contenders[name][key] for name in ("ours", "lock") for key in vacuum] == [0, 0, 1000, 0]
    assert result["machine"]["ring_of_one_session_each_deadlocks"] is True
    assert {name: len(trials) for name, trials in details.items()} == dict.fromkeys(contenders, 5)
    # nobody is told before it has happened, and no proof is there before its ring
    assert all(trial["ring_ms"] > 0 for trials in details.values() for trial in trials)
    assert all(t["proof_ms"] >= t["ring_ms"] for name in ("ours", "tcp", "lock") for t in details[name])


def test_the_dead_are_replaced_among_many_and_nobody_else(tmp_path: Path) -> None:
    result, details = ran_alone("idle", tmp_path)
    assert (list(result["figures"]), result["peers"]) == (IDLE, {})
    (seen,) = details["ours"]
    for size in (3, 30, 300):
        assert [seen[f"robots{size}_{fault}"] for fault in ("unpromoted", "ended", "false_failovers")] == [0, 0, 0]
        assert seen[f"robots{size}_bytes_per_s"] > 0
        assert seen[f"robots{size}_queries_per_s"] > 0


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for temporary files that Postgres' unprivileged user can reach."""
    path = Path(tempfile.mkdtemp(prefix="bench-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def ended(pid: int, limit: float = 10) -> bool:
    """Whether a process has ended, or does so soon: who has inherited it must take its exit code first."""
    until = time.monotonic() + limit
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals, temporary: Path, tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command("sync", tmp_path), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert "listening processes" in process.stderr.readline()
            (pid_file,) = temporary.glob("rg-pg-*/data/postmaster.pid")
            postmaster = int(pid_file.read_text().splitlines()[0])
            process.send_signal(number)
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode not in {0, -signal.SIGKILL}
    assert ended(postmaster)
    assert [path.name for path in temporary.iterdir() if path.name.startswith(("rg-", "bench-"))] == []
    assert list(tmp_path.iterdir()) == []
