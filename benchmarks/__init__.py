"""Benchmarks: one module a figure, each with the limit and the peers in the same run (docs/benchmarks.md)."""
