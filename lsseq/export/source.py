"""The form `python`: a file of plain PyTorch beside its weights, for whoever wants to read, change or train it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, fx
from torch.export.graph_signature import InputKind

import lsseq
from lsseq.export.step import Runner, Subject

NAME = "python"
FILE, WEIGHTS = "model.py", "model.safetensors"

_TEMPLATE = '''\
"""A model that lsseq {version} exported. It needs PyTorch, safetensors, and {weights} beside it.

    model = Model()
    logits, state = model(inputs)  # {shape} to (T, B, {outputs})
    logits, state = model(inputs, state)  # on from there

The model computes as in evaluation, without noise; its parameters can be trained.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

PARAMETERS = {parameters}
BUFFERS = {buffers}
STATES = {states}


class Model(nn.Module):
    """The parameters by the names that they have in lsseq, and a loop over the steps."""

    def __init__(self, weights=Path(__file__).with_name("{weights}")):
        super().__init__()
        tensors = load_file(weights)
        for name in PARAMETERS:
            self._place(name).register_parameter(name.rpartition(".")[2], nn.Parameter(tensors[name]))
        for name in (*BUFFERS, *(f"initial.{{number}}" for number in range(STATES))):
            self._place(name).register_buffer(name.rpartition(".")[2], tensors[name])

    def _place(self, name):
        module = self
        for part in name.split(".")[:-1]:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        return module

    def initial_state(self, batch):
        """The state before the first step of so many streams."""
        states = [self.get_buffer(f"initial.{{number}}") for number in range(STATES)]
        return [state.expand(*state.shape[:-2], batch, state.shape[-1]) for state in states]

    def forward(self, inputs, state=None):
        """inputs {shape} and a state to (T, B, {outputs}) and the state after them."""
        state = self.initial_state(inputs.shape[1]) if state is None else state
        weights = [*map(self.get_parameter, PARAMETERS), *map(self.get_buffer, BUFFERS)]
        outputs = []
        for x in inputs:
            output, *state = step(*weights, x, *state)
            outputs.append(output)
        return torch.stack(outputs), state


{step}'''


def obstacle(subject: Subject) -> str | None:
    """Every model can have this form."""
    del subject
    return None


def files(subject: Subject) -> dict[str, bytes]:
    """What is written."""
    program = subject.step
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    given = [name for name, spec in specs.items() if spec.kind == InputKind.USER_INPUT]
    graph = _pruned(program.graph_module, given)
    tensors = {**program.state_dict, **program.constants}
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    for node in _inputs(graph):
        kind, target = specs[node.name].kind, specs[node.name].target
        if target is not None:
            group = parameters if kind == InputKind.PARAMETER else buffers
            group[target.removeprefix("model.")] = tensors[target]
    initial = {f"initial.{number}": tensor for number, tensor in enumerate(subject.initial.values())}
    source = _TEMPLATE.format(
        version=lsseq.__version__,
        weights=WEIGHTS,
        shape="tokens (T, B)" if subject.reads_tokens else f"(T, B, {subject.model.embedding.output_size})",
        outputs=subject.outputs,
        parameters=_tuple(parameters),
        buffers=_tuple(buffers),
        states=len(initial),
        step=_code(graph, given[0]),
    )
    saved = {name: tensor.detach().clone() for name, tensor in {**parameters, **buffers, **initial}.items()}
    return {FILE: source.encode(), WEIGHTS: save(saved)}


def runner(folder: Path, subject: Subject) -> Runner:
    """The model from what was written."""
    del subject
    spec = importlib.util.spec_from_file_location("exported", folder / FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: Runner = module.Model()
    return model


def _inputs(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "placeholder"]


def _pruned(module: fx.GraphModule, given: Collection[str]) -> fx.Graph:
    """The graph without what nobody needs: checks of types, what is computed for the log, what is not `given` by a
    caller and not used."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in graph.nodes:
        if "_assert" in str(node.target):
            graph.erase_node(node)
    graph.eliminate_dead_code()
    for node in _inputs(graph):
        if not node.users and node.name not in given:
            graph.erase_node(node)
    return graph


def _code(graph: fx.Graph, inputs: str) -> str:
    """A graph as a function `step`, whose first input has a name."""
    source = graph.python_code("self").src
    source = re.sub(r";  (\w+ = )+None", "", source)
    # Where the graph makes tensors of its own, they are to be where the input is.
    source = re.sub(r"device\(type='\w+'\)", f"{inputs}.device", source)
    signature, _, body = source[source.index("def forward(self, ") :].partition("):\n")
    arguments = signature.removeprefix("def forward(self, ").split(", ")
    lines = [line for line in body.splitlines() if line.strip()]
    return "def step(\n" + "".join(f"    {name},\n" for name in arguments) + "):\n" + "\n".join(lines) + "\n"


def _tuple(names: Iterable[str]) -> str:
    lines = [f'    "{name}",\n' for name in names]
    return "(\n" + "".join(lines) + ")" if lines else "()"
