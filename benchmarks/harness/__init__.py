"""What the benchmarks share: a server of their own, texts, statistics, and how results are shown."""
