from pathlib import Path

import pytest

from images import record
from images.content import RECIPES, ROOT, Recipe, tag
from images.record import Image

PYPROJECT = """
[project]
name = "robotgroups"
version = "{version}"
[build-system]
requires = []
[tool.hatch.build]
[tool.ruff]
line-length = {width}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.py").write_text("print(1)\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "lock.txt").write_text("a==1\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(version=1, width=120))
    return tmp_path


RECIPE = Recipe("robot", "Dockerfile", "python", "python:3.13-slim", ("code", "lock.txt"))


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("code/main.py", "print(2)\n"),
        ("code/new.py", ""),
        ("Dockerfile", "FROM scratch\nUSER 1\n"),
        ("lock.txt", "a==2\n"),
        ("pyproject.toml", PYPROJECT.format(version=2, width=120)),
    ],
)
def test_whatever_goes_in_changes_the_tag(root: Path, path: str, content: str) -> None:
    before = tag(RECIPE, "base:1", root)
    (root / path).write_text(content)
    assert tag(RECIPE, "base:1", root) != before


def test_an_image_is_made_after_the_one_that_it_adds_to() -> None:
    parts = [recipe.part for recipe in RECIPES]
    for place, recipe in enumerate(RECIPES):
        assert not recipe.on or recipe.on in parts[:place]
        if recipe.on:
            assert f"FROM ${{{recipe.on.upper()}_IMAGE}}" in (ROOT / recipe.dockerfile).read_text().splitlines()


def test_so_does_another_base(root: Path) -> None:
    assert tag(RECIPE, "base:1", root) != tag(RECIPE, "base:2", root)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("code/__pycache__/main.pyc", "bytes"),
        ("tests/test_main.py", ""),
        ("pyproject.toml", PYPROJECT.format(version=1, width=100)),
    ],
)
def test_what_stays_out_does_not(root: Path, path: str, content: str) -> None:
    before = tag(RECIPE, "base:1", root)
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(content)
    assert tag(RECIPE, "base:1", root) == before


def test_a_rename_is_a_change(root: Path) -> None:
    before = tag(RECIPE, "base:1", root)
    (root / "code" / "main.py").rename(root / "code" / "other.py")
    assert tag(RECIPE, "base:1", root) != before


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.part)
def test_every_image_copies_what_its_tag_is_made_of_and_nothing_else(recipe: Recipe) -> None:
    lines = (ROOT / recipe.dockerfile).read_text().splitlines()
    copied = {
        source for line in lines if line.startswith("COPY ") and "--from" not in line for source in line.split()[1:-1]
    }
    assert copied - {"pyproject.toml"} == set(recipe.sources)


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    images = [
        Image("robot", "localhost/robotgroups-robot", "abc", "/cache/robot-abc.tar", 1000),
        Image("operator", "localhost/robotgroups-operator", "def", None, None),
    ]
    record.write(images, tmp_path / "images.json")
    assert record.read(tmp_path / "images.json") == {"robot": images[0], "operator": images[1]}


def test_without_a_record_it_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `make images`"):
        record.read(tmp_path / "images.json")
