"""Each row of docs/features.md names a test that exists, in the file that it links to."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
HEADER = ["feature", "HTM", "here", "test that shows it"]
LINK = re.compile(r"\[(test_\w+)\]\((\.\./tests/[\w./]+\.py)\)")


def rows() -> list[list[str]]:
    """The cells of every line of every table, headers and rulers among them."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def features() -> list[list[str]]:
    return [row for row in rows() if row != HEADER and set("".join(row)) != {"-"}]


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_table_has_the_same_columns() -> None:
    assert rows().count(HEADER) == PAGE.read_text(encoding="utf-8").count("|---|---|---|---|")
    assert len(features()) > 50
    assert [row for row in rows() if len(row) != len(HEADER)] == []


def test_no_feature_is_told_twice() -> None:
    names = [row[0] for row in features()]
    assert [name for name in names if names.count(name) > 1] == []


def test_every_row_names_a_test_that_exists() -> None:
    missing = []
    for feature, _, _, cell in features():
        link = LINK.fullmatch(cell)
        if link is None:
            missing.append(f"{feature}: {cell!r} is no link to a test")
            continue
        name, path = link[1], (PAGE.parent / link[2]).resolve()
        if not path.is_file() or name not in functions_in(path):
            missing.append(f"{feature}: {link[2]} has no {name}")
    assert missing == []
