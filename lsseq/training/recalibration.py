"""The statistics of batch normalisation before they are used: those of the weights as they are, without noise."""

from __future__ import annotations

import torch

from lsseq.data.batches import BEGINNING, TrainingWindows
from lsseq.model.base import SequenceModel
from lsseq.nn import recalibrating
from lsseq.nn.parts.statistics import step_norms
from lsseq.nn.state import State

WINDOWS = 100
"""So many windows of the first epoch are read, or all where it has fewer."""


def recalibrate(model: SequenceModel, windows: TrainingWindows, device: torch.device) -> None:
    """Take the statistics of a model's batch normalisation anew from the beginning of what it is trained on.

    Cooijmans et al. (2017) evaluate with the mean of the statistics of all training batches. The running averages of
    training are of weights that have changed since, and of states under dropout and zoneout; where the state is
    carried, they have also seen the first steps only once an epoch. The windows go on afterwards where they stood, and
    nothing random is drawn. A model without such statistics is left alone.
    """
    if not step_norms(model):
        return
    position = windows.position()
    windows.seek(BEGINNING)
    state: State = None
    try:
        with recalibrating(model), torch.no_grad():
            for _ in range(min(WINDOWS, windows.windows_per_epoch)):
                window = windows.next()
                state = model.score(window.batch.to(device), None if window.fresh else state).state
    finally:
        # Somebody may ask to stop at any moment, and what is then saved goes on from where the training stands.
        windows.seek(position)
