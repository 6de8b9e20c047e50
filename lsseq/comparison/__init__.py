"""Runs side by side: read from their folders, as a table, as files, as a page with curves. Imports no torch but to
measure test splits."""

from lsseq.comparison.find import find_runs
from lsseq.comparison.group import Group, alike, grouped, ranked, single
from lsseq.comparison.row import Row, read_row

__all__ = ["Group", "Row", "alike", "find_runs", "grouped", "ranked", "read_row", "single"]
