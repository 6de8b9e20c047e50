"""Trainings that are killed, starved of disk and interrupted, and the proof that nothing of them is lost."""
