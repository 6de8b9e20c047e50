"""Every kind of model, exported in every form, computes what it did; the plain file does so where there is no lsseq."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from export_kinds import KINDS
from safetensors.torch import load_file, save_file
from tiny_run import tiny_model
from torch import Tensor, nn

from lsseq.data.tasks import Form
from lsseq.errors import RunError
from lsseq.export import onnx, sequence, source, torch_nn
from lsseq.export.forms import FORMS, difference
from lsseq.export.step import Subject
from lsseq.model.factory import build_answering
from lsseq.model.recurrent import RecurrentModel
from lsseq.nn.state import flatten_state
from lsseq.recipe.schema import Model

V = 7
TASKS = {
    "numbers": Form(inputs=2, symbols=False, classes=None),
    "classes": Form(inputs=V, symbols=True, classes=("a", "b", "c")),
}

RUN_WITHOUT_LSSEQ = """
import importlib.util, sys
sys.modules["lsseq"] = None
from safetensors.torch import load_file, save_file
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = load_file(folder + "/given.safetensors")
    model = module.Model()
    first, state = model(given["first"])
    second, state = model(given["second"], state)
    save_file({"first": first, "second": second}, folder + "/found.safetensors")
"""


def model_of(kind: str) -> RecurrentModel:
    """A small model, untrained but for statistics and a state that are not where they start."""
    if kind in TASKS:
        torch.manual_seed(0)
        model: RecurrentModel = build_answering(Model(hidden=6, embedding=4), TASKS[kind]).eval()
    else:
        model = tiny_model(V, double=False, **KINDS[kind])
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in (*(model.initial_state.parameters() if model.initial_state else ()),):
            tensor.normal_()
        for name, buffer in model.named_buffers():
            if name.endswith(("mean", "variance")):
                buffer.uniform_(0.5, 1.5)
    return model


def two_windows(model: RecurrentModel, subject: Subject) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs of two windows, and the logits that the model gives for them one after the other."""
    generator = torch.Generator().manual_seed(2)
    inputs = [subject.sample(11, 2, generator), subject.sample(3, 2, generator)]
    with torch.no_grad():
        first, state = model.logits(inputs[0])
        second, _ = model.logits(inputs[1], state)
    return inputs, [first, second]


@pytest.fixture(scope="module")
def without_lsseq(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """Of every kind, what its plain file gives in a process that cannot import lsseq, and what it should give."""
    folders, expected = {}, {}
    for kind in (*KINDS, *TASKS):
        folder = folders[kind] = tmp_path_factory.mktemp("plain")
        model = model_of(kind)
        subject = Subject.of(model, kind)
        try:
            files = source.files(subject)
        except RunError:
            if not (torch.__version__.startswith("2.3.") and kind == "fast-slow stack"):
                raise
            del folders[kind]
            continue
        for name, content in files.items():
            (folder / name).write_bytes(content)
        inputs, expected[kind] = two_windows(model, subject)
        save_file(dict(zip(("first", "second"), inputs, strict=True)), folder / "given.safetensors")
    subprocess.run([sys.executable, "-c", RUN_WITHOUT_LSSEQ, *map(str, folders.values())], check=True)
    found = {kind: load_file(folder / "found.safetensors") for kind, folder in folders.items()}
    return {kind: ([found[kind]["first"], found[kind]["second"]], expected[kind]) for kind in folders}


@pytest.mark.parametrize("kind", [*KINDS, *TASKS])
def test_the_plain_file_runs_without_lsseq(kind: str, without_lsseq: Any) -> None:
    if kind not in without_lsseq:
        pytest.skip("PyTorch 2.3 cannot export it")
    found, expected = without_lsseq[kind]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def by_default(kind: str) -> Any:
    """The kind as a parameter of a test that takes long for each: all but one are for the long run."""
    return pytest.param(kind, marks=[] if kind == "zoneout" else pytest.mark.slow)


@pytest.mark.parametrize("kind", [by_default(kind) for kind in [*KINDS, *TASKS]])
def test_the_programs_read_any_length_and_number(kind: str, tmp_path: Path) -> None:
    """torch.export's and ONNX's, called as their users do."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    model = model_of(kind)
    subject = Subject.of(model, kind)
    if (reason := onnx.obstacle(subject)) is not None:
        pytest.skip(reason)
    for form in (sequence, onnx):
        for name, content in form.files(subject).items():
            (tmp_path / name).write_bytes(content)
    inputs, expected = two_windows(model, subject)
    program = torch.export.load(tmp_path / "model.pt2").module()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    state = subject.initial_state(2)
    onnx_state = {f"state_{number}": tensor.numpy() for number, tensor in enumerate(state)}
    for window, right in zip(inputs, expected, strict=True):
        logits, state = program(window, state)
        torch.testing.assert_close(logits, right, rtol=1e-5, atol=1e-5)
        given = {"inputs": window.numpy(), **onnx_state}
        answers = session.run(["logits", *(f"{name}_after" for name in onnx_state)], given)
        torch.testing.assert_close(torch.from_numpy(answers[0]), right, rtol=1e-5, atol=1e-5)
        onnx_state = dict(zip(onnx_state, answers[1:], strict=True))


@pytest.mark.parametrize(
    ("keys", "namesake"),
    [
        ({"layers": 2}, lambda: nn.LSTM(4, 6, 2)),
        ({"recurrence": "gru", "tied": True, "embedding": 6}, lambda: nn.GRU(6, 6)),
        (
            {"recurrence": "rnn", "activation": "relu", "dropout": {"weight": 0.5}},
            lambda: nn.RNN(4, 6, nonlinearity="relu"),
        ),
    ],
    ids=["lstm", "gru", "rnn"],
)
def test_a_state_dict_of_torch_nn(keys: dict[str, Any], namesake: Any, tmp_path: Path) -> None:
    model = tiny_model(V, double=False, **keys)
    subject = Subject.of(model, "it")
    assert torch_nn.obstacle(subject) is None
    (content,) = torch_nn.files(subject).values()
    (tmp_path / "torch_nn.safetensors").write_bytes(content)
    tensors = load_file(tmp_path / "torch_nn.safetensors")

    def loaded(part: str, module: nn.Module) -> nn.Module:
        module.load_state_dict({n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")})
        return module

    rnn = namesake()
    embedding, output = nn.Embedding(V, rnn.input_size), nn.Linear(6, V)
    tokens = torch.randint(0, V, (9, 3))
    with torch.no_grad():
        h, _ = loaded("rnn", rnn)(loaded("embedding", embedding)(tokens))
        torch.testing.assert_close(loaded("output", output)(h), model.logits(tokens)[0], rtol=1e-5, atol=1e-6)
    difference(subject, torch_nn.runner(tmp_path, subject))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"zoneout": {"cell": 0.3, "hidden": 0.1}}, "torch.nn.LSTM has no zoneout_cell=0.3, zoneout_hidden=0.1"),
        ({"recurrence": "gru", "rank": 2, "input_rank": 3}, "torch.nn.GRU has no rank=2, input_rank=3"),
        ({"norm": "layer"}, "torch.nn.LSTM has no norm='layer'"),
        ({"recurrence": "gru", "reset": "before"}, "torch.nn.GRU has no reset='before'"),
        ({"recurrence": "hm-lstm", "layers": 2}, "it is for LSTM, GRU or RNN layers of one size and without a stack"),
        ({"layers": 2, "hidden": [6, 5]}, "it is for LSTM, GRU or RNN layers of one size and without a stack"),
        (KINDS["adaptive softmax"], "it is for an output that is a linear map, and the model has an adaptive softmax"),
    ],
    ids=str,
)
def test_what_torch_nn_cannot_hold(keys: dict[str, Any], reason: str) -> None:
    assert torch_nn.obstacle(Subject.of(tiny_model(V, double=False, **keys), "it")) == reason


def test_the_plain_file_can_be_trained(tmp_path: Path) -> None:
    model = model_of("zoneout")
    for name, content in source.files(Subject.of(model, "it")).items():
        (tmp_path / name).write_bytes(content)
    spec = importlib.util.spec_from_file_location("plain", tmp_path / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plain = module.Model()
    tokens = torch.randint(0, V, (5, 2))
    plain(tokens)[0].square().sum().backward()
    model.logits(tokens)[0].square().sum().backward()
    found = {name: parameter.grad for name, parameter in plain.named_parameters()}
    torch.testing.assert_close(found, {name: p.grad for name, p in model.named_parameters()}, rtol=1e-4, atol=1e-6)


def test_a_form_that_computes_something_else_is_refused() -> None:
    subject = Subject.of(model_of("lstm"), "runs/it")
    right = lambda inputs, state: subject.step.module()(inputs[0], state)  # noqa: E731 - one step in the place of all
    with pytest.raises(RunError, match=r"what was exported of runs/it differs from it by .*, more than 1e-05"):
        difference(subject, lambda inputs, state: (right(inputs, state)[0].expand(len(inputs), -1, -1), state))


class Branching(nn.Module):
    """A recurrence whose step depends on values in Python."""

    output_size = 6

    def zero_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[1], 6)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        state = self.zero_state(x) if state is None else state
        return state.expand(len(x), -1, -1), state + 1 if float(x.sum()) > 0 else state, {}


def test_a_model_that_cannot_be_traced(capsys: pytest.CaptureFixture[str]) -> None:
    model: Any = model_of("lstm")
    model.recurrence = Branching()
    with pytest.raises(RunError, match=r"^error: PyTorch \S+ cannot export runs/it: .*\nhint: `lsseq.load` runs it"):
        source.files(Subject.of(model, "runs/it"))


def test_what_is_exported_stays_as_it_was() -> None:
    model = model_of("zoneout").train()
    before = flatten_state({name.replace(".", "_"): tensor.clone() for name, tensor in model.state_dict().items()})
    subject = Subject.of(model, "it")
    source.files(subject)
    assert model.training
    assert {part.backend for part in model.modules() if hasattr(part, "backend")} == {"auto"}
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_names_of_the_forms_are_those_of_the_command() -> None:
    from lsseq.cli.verbs.export import FORMATS

    assert tuple(FORMS) == FORMATS
