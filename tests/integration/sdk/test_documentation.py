"""The snippets of docs/sdk.md run in their order, warnings being errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "sdk.md"


def test_the_snippets_of_the_page_run(dsn: str) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(snippets) > 5
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(snippets)],
        env=os.environ | {"ROBOTGROUPS_DSN": dsn},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
