"""What processes that train one model tell each other.

Each computes its rows of every batch, and the gradients are added up in one message a step. PyTorch's
DistributedDataParallel is not used: it takes the mean over processes where a loss is a mean over targets, needs to be
told of layers that a step leaves out, and sends parts of the gradient while the rest is computed, which gains little
where the weights are those of a recurrence, complete only when the first step of the window is reached.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lsseq.errors import RequestError
from lsseq.processes import place
from lsseq.recipe.faults import KeyFault

_turns = count()


@dataclass(frozen=True)
class Processes:
    """The processes of a training as one of them sees them. All must call the same methods in the same order; a process
    that is alone returns at once.

    Where another process was lost, every method that waits for it raises RunError.
    """

    rank: int = 0
    """Which one this is, from 0 on."""
    size: int = 1
    """N."""

    @property
    def lead(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This process's part of so many rows: as many as every other's, or one more."""
        return slice(batch * self.rank // self.size, batch * (self.rank + 1) // self.size)

    def even_rows(self, batch: int) -> slice:
        """This process's part of a training batch.

        Raises:
            KeyFault: the rows cannot be shared evenly.
        """
        if batch % self.size:
            below = batch // self.size * self.size
            near = [str(number) for number in (below, below + self.size) if number > 0]
            raise KeyFault(
                "training.batch",
                f"a batch of {batch} cannot be shared evenly by {self.size} processes",
                hint=f"the nearest that can: training.batch={' or '.join(near)}",
            )
        return self.rows(batch)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(float(flag))))

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, on the CPU."""
        if self.size == 1:
            return values
        total = values.cpu().clone()
        with _told_apart():
            dist.all_reduce(total)
        return total

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes in the place of each tensor. They travel together, in one message."""
        if self.size == 1:
            return
        together = torch.cat([tensor.flatten() for tensor in tensors])
        with _told_apart():
            dist.all_reduce(together)
        parts = torch.split(together, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes; gradients go back to each."""
        if self.size == 1:
            return values
        found: Tensor = _Mean.apply(values, self.size)  # type: ignore[no-untyped-call]
        return found

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Tensors (…, B/N, H) of all processes to (…, B, H), on the CPU."""
        if self.size == 1:
            return rows
        own = rows.cpu().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _told_apart():
            dist.all_gather(parts, own)
        return torch.cat(parts, dim=-2)

    @contextmanager
    def lead_first(self) -> Iterator[None]:
        """What is inside is done by the process that leads, and by the others when it is done there: they find the
        files that it made. However long it takes."""
        key = f"turn {next(_turns)}"
        if not self.lead:
            place.wait_for(key, 1)
        yield
        if self.lead and self.size > 1:
            place.store().add(key, 1)


ALONE = Processes()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that `torchrun` has started, once all are there; `ALONE` where it has not.

    With CUDA each process of a machine takes a GPU of its own.

    Raises:
        KeyFault: there are fewer GPUs than processes.
        RequestError: this torch cannot connect processes.
        RunError: another process has failed.
    """
    size = place.size()
    if size == 1:
        yield ALONE
        return
    if not dist.is_available():
        raise RequestError("this torch was built without torch.distributed, which several processes need")
    backend = "gloo"
    if device.type == "cuda":
        here, gpus = place.rank_here(), torch.cuda.device_count()
        if here >= gpus:
            raise KeyFault(
                "training.device",
                f"more processes than GPUs: {gpus} GPU{'s' if gpus > 1 else ''} on this machine",
                hint=f"start as many as there are: torchrun --nproc-per-node {gpus}",
            )
        torch.cuda.set_device(here)
        if dist.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
    # Its functions have the group as a default value: imported later, as optimisers do, they keep the group's threads,
    # and a thread that wakes when the interpreter ends aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    place.store().add("here", 1)
    place.wait_for("here", size)
    with _told_apart():
        dist.init_process_group(backend, store=place.store(), rank=place.rank(), world_size=size)
    yield Processes(place.rank(), size)
    # Only where all went well: it may wait for processes that are lost.
    dist.destroy_process_group()


@contextmanager
def _told_apart() -> Iterator[None]:
    """An error of the connection is that of a lost process; memory that ran out is not."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise place.lost() from error


class _Mean(torch.autograd.Function):
    """y = Σ x / N; every process's loss may depend on y, so that the gradient is the same sum of gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, size: int) -> Tensor:
        ctx.size = size
        return _mean(values, size)

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor) -> tuple[Tensor, None]:
        return _mean(d_mean, ctx.size), None


def _mean(values: Tensor, size: int) -> Tensor:
    total = values.contiguous().clone()
    with _told_apart():
        dist.all_reduce(total)
    return total / size
