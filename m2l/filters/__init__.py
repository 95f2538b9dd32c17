"""Filters: one file each, each a set of named rules."""
