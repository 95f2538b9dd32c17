"""Benchmarks of the project's own parts, on text that is fetched when they run."""
