"""Recurrences above each other that drop, mix or share their layers, each over any recurrence of `lsseq.nn`."""
