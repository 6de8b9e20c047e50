"""Damaged and hostile input, and a cage in which lsseq reads it."""
