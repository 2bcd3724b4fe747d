"""Each benchmark runs, in seconds and without meaning, and says what it promises. None of its figures is asserted.

Of the peers only HTM's statements are replayed here: the others are in the benchmarks' own virtual environment.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 110

REMEMBER = [
    "c1_p50_ms", "c1_p99_ms", "c1_per_s", "c16_per_s", "c16_p99_ms", "c64_per_s", "groups100_c16_per_s",
    "http_c1_p50_ms", "http_c16_per_s",
]  # fmt: skip
KEYS = {"remember": REMEMBER}
# What no peer, or not even the limit, has.
NONE_OF = {
    "remember": {"limit": {"http_c1_p50_ms", "http_c16_per_s"}, "htm": {"http_c1_p50_ms", "http_c16_per_s"}},
}


def run(name: str, results: Path) -> subprocess.CompletedProcess[str]:
    """`make bench-NAME` in the tests' environment, which has no peers and no matplotlib."""
    command = [
        sys.executable, "-m", f"benchmarks.{name}",
        "--quick", "--peers", "htm", "--no-picture", "--results", str(results),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@pytest.mark.parametrize("name", list(KEYS))
def test_the_last_line_is_the_result(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stderr
    *table, line = done.stdout.splitlines()
    result = json.loads(line)
    assert list(result) == ["name", "figures", "limit", "peers", "machine"]
    assert result["name"] == name
    assert list(result["peers"]) == ["htm"]
    measured = {"ours": result["figures"], "limit": result["limit"], "htm": result["peers"]["htm"]}
    for contender, figures in measured.items():
        assert list(figures) == KEYS[name]
        missing = {key for key, value in figures.items() if value is None}
        assert missing == NONE_OF[name].get(contender, set()), contender
        assert all(value > 0 for value in figures.values() if value is not None)
    assert result["machine"]["postgres"]["fsync"] == "on"
    assert result["machine"]["postgres"]["synchronous_commit"] == "on"
    assert any(KEYS[name][0] in row for row in table)
    (file,) = tmp_path.iterdir()
    written = json.loads(file.read_text())
    assert {key: written[key] for key in result} == result
    assert list(written) == [*result, "details"]
