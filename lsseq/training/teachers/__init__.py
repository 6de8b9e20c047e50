"""Teachers of boundary detectors: small language models that read a text from both sides, trained before the model
itself. Where they are surprised a unit has ended, and the detectors are taught to fire there."""

from lsseq.training.teachers.store import has_teachers, school_of, training_marks

__all__ = ["has_teachers", "school_of", "training_marks"]
