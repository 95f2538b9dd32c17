"""Benchmarks; each prints what docs/benchmarks.md holds."""
