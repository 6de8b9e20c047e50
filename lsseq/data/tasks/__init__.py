"""Sequence tasks beside language modelling: what is read, what is to be answered, and what chance would answer."""

from lsseq.data.tasks.examples import Examples, Form
from lsseq.data.tasks.labelled import LabelledTexts
from lsseq.data.tasks.opening import known_form, open_task
from lsseq.data.tasks.windows import ExampleWindows

__all__ = ["ExampleWindows", "Examples", "Form", "LabelledTexts", "known_form", "open_task"]
