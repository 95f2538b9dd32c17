"""Seed sources: one file each, from rows that others wrote to seeds, and what cannot be used to quarantine."""
