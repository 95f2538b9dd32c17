"""Checks: what decides whether an answer has its form, an evolution is one, and a turn did what it was to do."""
