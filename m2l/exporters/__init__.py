"""Exporters: one file each, from the sampled tables to a format that is published."""
