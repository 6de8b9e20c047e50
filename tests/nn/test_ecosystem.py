"""Every recurrence and stack of `lsseq.nn` does what is expected of a module of PyTorch."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from recurrences import RECURRENCES, H, I, call, gradients, make, parts
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.state import detach_state, map_state

T, B = 5, 3

every = pytest.mark.parametrize("name", RECURRENCES)
both_modes = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
knows_parameters = pytest.mark.skipif(
    torch.__version__.startswith("2.3."),
    reason="the compiler of PyTorch 2.3 knows neither ParameterDict nor dataclasses",
)


@pytest.fixture(autouse=True)
def compiled_anew() -> Iterator[None]:
    yield
    torch.compiler.reset()


def data(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, I, generator=torch.Generator().manual_seed(3), dtype=dtype)


def test_the_feed_forward_network_in_torch_func() -> None:
    network, x = lnn.Highway(I, 2, dtype=torch.float64), data(T, B, dtype=torch.float64)
    expected = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(network, parameters, (x,)).square().sum()

    found = torch.func.grad(loss)({name: p.detach() for name, p in network.named_parameters()})
    torch.testing.assert_close(list(found.values()), list(expected), rtol=1e-9, atol=1e-12)


def test_the_list_is_complete() -> None:
    stateless = {lnn.Dropout, lnn.EmbeddingDropout, lnn.Highway}
    public = {value for name in lnn.__all__ if isinstance(value := getattr(lnn, name), type)}
    expected = {kind for kind in public - stateless if issubclass(kind, nn.Module)}
    assert {type(make(name)) for name in RECURRENCES} == expected


@every
def test_learns_in_a_loop_of_ones_own(name: str) -> None:
    module, readout = make(name), nn.Linear(H, 1)
    parameters = [*module.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    x = data(40, 8)
    target = x[..., :1].cumsum(0).tanh()
    state: Any = None
    losses = []
    for step in range(60):
        window = slice(step % 4 * 10, step % 4 * 10 + 10)
        state = None if step % 4 == 0 else detach_state(state)
        result = module(x[window], state)
        state = result.state if isinstance(result, lnn.HMOutput) else result[1]
        loss = (readout(parts(result)[0]) - target[window]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


@both_modes
@every
def test_copies_and_whole_saved_modules(name: str, training: bool) -> None:
    module, x = make(name).train(training), data(T, B)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    others = [copy.deepcopy(module), torch.load(buffer, weights_only=False)]
    expected = call(module, x)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(call(other, x), expected, strict=True))
        assert not {p.data_ptr() for p in other.parameters()} & {p.data_ptr() for p in module.parameters()}


@every
def test_hooks(name: str) -> None:
    module, x = make(name), data(T, B).requires_grad_()
    seen: list[str] = []
    module.register_forward_pre_hook(lambda _, given: seen.append("before") or (2 * given[0], *given[1:]))
    module.register_forward_hook(lambda _, __, result: seen.append("after") or result)
    module.register_full_backward_hook(lambda _, d_input, __: seen.append("back") or (10 * d_input[0], *d_input[1:]))
    output = call(module, x)[0]
    assert torch.equal(output, call(make(name), 2 * data(T, B))[0])
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    if name == "HMLSTM":  # PyTorch's backward hooks see no tensors inside a tuple inside the result
        assert seen == ["before", "after"]
        return
    assert seen == ["before", "after", "back"]
    y = (2 * data(T, B)).requires_grad_()
    (plain,) = torch.autograd.grad(call(make(name), y)[0].square().sum(), y)
    torch.testing.assert_close(gradient, 20 * plain)


@every
def test_functional_call_and_func_grad(name: str) -> None:
    module, x = make(name).double().eval(), data(T, B, dtype=torch.float64)
    expected = gradients(module, x)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return parts(torch.func.functional_call(module, parameters, (x,)))[0].square().sum()

    found = torch.func.grad(loss)({name: p.detach() for name, p in module.named_parameters()})
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-9, atol=1e-12)


@every
def test_vmap_over_an_ensemble(name: str) -> None:
    modules, x = [make(name).eval(), make(name).eval()], data(T, B)
    with torch.no_grad():
        for parameter in modules[1].parameters():
            parameter.mul_(1.1)
    parameters, buffers = torch.func.stack_module_state(modules)

    def output(values: Any) -> Tensor:
        return parts(torch.func.functional_call(modules[0], values, (x,)))[0]

    found = torch.vmap(output)((parameters, buffers))
    for module, one in zip(modules, found, strict=True):
        torch.testing.assert_close(one, call(module, x)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@both_modes
@every
def test_autocast(name: str, training: bool, dtype: torch.dtype) -> None:
    module, x = make(name).train(training), data(T, B)
    # A detector may find another boundary where its sum is rounded, so that its boundaries are given.
    given = {"boundaries": torch.ones(T, B, 2)} if name == "HMLSTM" else {}
    torch.manual_seed(1)
    exact = parts(module(x, None, **given))
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = parts(module(x.to(dtype), None, **given))
    # Where PyTorch's own LSTM computes, its output has the lower precision, as there.
    assert found[0].dtype in (torch.float32, torch.bfloat16)
    assert float((found[0].float() - exact[0]).abs().mean()) < 0.02
    found[0].square().sum().backward()
    assert {p.grad.dtype for p in module.parameters() if p.grad is not None} == {torch.float32}


@every
def test_states_can_be_detached_in_place(name: str) -> None:
    for part in call(make(name), data(T, B))[1:]:
        assert not part.detach_().requires_grad


@both_modes
@every
@knows_parameters
def test_compiled(name: str, training: bool) -> None:
    """Values, states, masks and gradients are the same; the compiler's front end runs, without code being made."""
    module, x = make(name).train(training), data(T, B)
    compiled = torch.compile(copy.deepcopy(module), backend="eager")
    state = map_state(lambda tensor: tensor.detach(), _state(module(x)))
    for given in (None, state):
        torch.testing.assert_close(call(compiled, x, given), call(module, x, given), rtol=1e-6, atol=1e-7)
    found, expected = gradients(compiled, x), gradients(module, x)
    assert {key.removeprefix("_orig_mod.") for key in found} == set(expected)
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, expected[key.removeprefix("_orig_mod.")], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["LSTM, noisy", "GRU", "HMLSTM", "RHN", "MogrifierLSTM", "FastSlow"])
def test_a_compiler_leaves_kernels_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make(name)
    chosen = []
    choose = type(module).choose_backend

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        chosen.append(choose(self, *args, **kwargs))
        return chosen[-1]

    monkeypatch.setattr(type(module), "choose_backend", spy)
    call(module, data(T, B))
    compiled = torch.compile(lambda x: call(module, x + 1)[0] * 2, backend="eager")
    for length in (T, T + 1, T + 2):  # nothing of the layer is compiled anew for another length
        compiled(data(length, B))
    assert len(chosen) == 4
    assert len(set(chosen)) == 1


@pytest.mark.slow
def test_compiled_to_code() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn, self.output = nn.Embedding(9, I), make("LSTM, noisy"), nn.Linear(H, 9)

        def forward(self, tokens: Tensor) -> Tensor:
            return torch.log_softmax(self.output(self.rnn(self.embedding(tokens))[0]), -1)

    torch.manual_seed(0)
    model, tokens = Model(), torch.randint(0, 9, (T, B))
    compiled = torch.compile(copy.deepcopy(model))
    for training in (True, False):
        torch.manual_seed(1)
        expected = model.train(training)(tokens)
        torch.manual_seed(1)
        torch.testing.assert_close(compiled.train(training)(tokens), expected, rtol=1e-5, atol=1e-6)


def _state(result: Any) -> Any:
    return result.state if isinstance(result, lnn.HMOutput) else result[1]
