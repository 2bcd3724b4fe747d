"""What others do for the same task, behind the interfaces of ``benchmarks.contenders``."""
