"""Run folders: where a training keeps its recipe, vocabulary, metrics and checkpoints, and how they are read again.

Everything is written so that a kill at any moment leaves a folder that resumes. Nothing here is pickled, and nothing
here imports torch before tensors are read or written.
"""

from lsseq.runs.checkpoint import digest_of as digest_of
from lsseq.runs.checkpoint import read_checkpoint as read_checkpoint
from lsseq.runs.checkpoint import read_values as read_values
from lsseq.runs.checkpoint import write_checkpoint as write_checkpoint
from lsseq.runs.folder import RunFolder as RunFolder
from lsseq.runs.load import LoadedRun as LoadedRun
from lsseq.runs.load import load_run as load_run
from lsseq.runs.load import load_task as load_task
from lsseq.runs.metrics import Metrics as Metrics
from lsseq.runs.metrics import read_metrics as read_metrics
from lsseq.runs.saved import read_saved as read_saved
