"""The command line that all benchmarks share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("langgraph", "langgraph_index", "mem0", "htm")


@dataclass(frozen=True)
class Options:
    """What to run: ``quick`` measures little, to see that everything works; its figures say nothing."""

    quick: bool
    rounds: int
    peers: tuple[str, ...]
    picture: bool
    results: Path
    million: bool = False
    only: tuple[str, ...] = ()


def peers_of(text: str) -> tuple[str, ...]:
    """The peers that a list names: "all", "none", or names with commas.

    Raises:
        argparse.ArgumentTypeError: there is no such peer.

    """
    if text == "all":
        return PEERS
    names = tuple(name for name in text.split(",") if name and name != "none")
    strange = [name for name in names if name not in PEERS]
    if strange:
        raise argparse.ArgumentTypeError(f"no peer {', '.join(strange)}: choose from {', '.join(PEERS)}")
    return names


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    parser = argparse.ArgumentParser(prog=f"bench-{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds: figures without meaning")
    parser.add_argument("--no-picture", dest="picture", action="store_false", help="do without matplotlib")
    parser.add_argument("--results", type=Path, default=None, help="where to write (benchmarks/results)")
    return parser


def results_of(given: argparse.Namespace) -> Path:
    """Where to write. A quick run's results go to build/: they would mislead."""
    return given.results or ROOT / ("build/benchmarks" if given.quick else "benchmarks/results")


def parse(
    name: str,
    description: str,
    *,
    rounds: int,
    quick_rounds: int = 1,
    million: bool = False,
    fixed: tuple[str, ...] | None = None,
    parts: tuple[str, ...] = (),
) -> Options:
    """Reads the command line; ``rounds`` is the default.

    ``fixed``: this benchmark's own peers, which are always in it, instead of those that may be chosen. ``parts``: what
    a run may be limited to (``only``).
    """
    parser = parser_of(name, description)
    parser.add_argument("--rounds", type=int, default=None, help=f"rounds, of which the median is taken ({rounds})")
    if fixed is None:
        parser.add_argument("--peers", type=peers_of, default=PEERS, help=f"all, none, or some of {','.join(PEERS)}")
    if million:
        parser.add_argument(
            "--million", action="store_true", help="also 1,000,000 memories: ours and bare SQL (100 minutes)"
        )
    if parts:
        parser.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="these parts of it alone")
    given = parser.parse_args()
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {given.rounds}")
    return Options(
        quick=given.quick,
        rounds=given.rounds or (quick_rounds if given.quick else rounds),
        peers=given.peers if fixed is None else fixed,
        picture=given.picture,
        results=results_of(given),
        million=getattr(given, "million", False),
        only=tuple(getattr(given, "only", ())),
    )
