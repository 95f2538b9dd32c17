"""The report: one page that shows what was made, offline and without running any of it."""
