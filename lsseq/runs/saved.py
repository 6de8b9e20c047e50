"""What the checkpoint of a training says of its progress, for those who do not go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lsseq.runs.checkpoint import damaged, read_values

Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Figure = int | float | None
Figures = dict[str, Figure]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Clock(_Part):
    """Seconds."""

    total: Seconds
    aside: Seconds
    """Of evaluations and saves."""


class Loop(_Part):
    """The part of the training loop's state that tells something."""

    clock: Clock | None = None
    latest: Figures | None = None


class Saved(_Part):
    """Where a training was."""

    step: Count
    epoch: Count
    tokens: Count = 0
    text: str | None = None
    """The fingerprint of what is trained on; older checkpoints do not tell."""
    best: Figures | None = None
    final: Figures | None = None
    """Once the budget is used up."""
    loop: Loop = Loop()


def read_saved(folder: Path) -> Saved:
    """What a checkpoint says, without torch.

    Raises:
        RunError: as `read_checkpoint`, or it says something else than a training does.
    """
    return saved(read_values(folder), folder)


def saved(values: Mapping[str, Any], folder: Path) -> Saved:
    """The same of the values that were read from a folder."""
    try:
        return Saved.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise damaged(folder, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
