"""The form `onnx`: a file for ONNX Runtime and others, with a `Scan` over the steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from lsseq.export import sequence
from lsseq.export.step import Runner, Subject, Tensors, tracing

NAME = "onnx"
FILE = "model.onnx"
_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


def obstacle(subject: Subject) -> str | None:
    """Why a model cannot have this form, or None."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        return f"it needs {', '.join(missing)}: pip install 'lsseq[onnx]'"
    return sequence.obstacle(subject)


def files(subject: Subject) -> dict[str, bytes]:
    """What is written: inputs `inputs` and `state_0` …, outputs `logits` and `state_0_after` …"""
    states = [f"state_{number}" for number in range(len(subject.initial))]
    program = sequence.program(subject)
    with tracing(subject.name):
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=["inputs", *states],
            output_names=["logits", *(f"{name}_after" for name in states)],
        )
    assert exported is not None
    return {FILE: exported.model_proto.SerializeToString()}


def runner(folder: Path, subject: Subject) -> Runner:
    """The model from what was written."""
    del subject
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: the optimiser warns of what it does itself
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        given = {name: tensor.numpy() for name, tensor in zip(names, [inputs, *state], strict=True)}
        logits, *after = map(torch.from_numpy, session.run(None, given))
        return logits, after

    return run
