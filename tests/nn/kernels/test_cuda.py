"""The fused back end on CUDA against the reference: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lsseq.nn.kernels import cuda, dispatch
from lsseq.nn.kernels.layer import Gains, Layer, States, Weights
from lsseq.nn.parts.transition import Dense
from lsseq.nn.random import Draws, Kind, bernoulli

HAS_TRITON = find_spec("triton") is not None
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if HAS_TRITON and DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported, and nothing above imports it.
pytestmark = pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed (pip install triton)")

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
RECURRENCES = [("LSTM", ""), ("GRU", "after"), ("GRU", "before"), ("RNN", "tanh"), ("RNN", "relu")]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, ROWS, INPUT, UNITS = 5, 3, 4, 7


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """Memory that nobody wrote to is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


class Problem:
    """Random tensors for a layer: `tensors` in the order x, states, parameters, each of which wants a gradient."""

    def __init__(
        self,
        recurrence: str,
        variant: str,
        sizes: tuple[int, int, int] = (STEPS, ROWS, UNITS),
        *,
        dtype: torch.dtype = F64,
        bias: bool = True,
        norm: bool = False,
        training: bool = True,
        zoneout: tuple[float, float] = (0.5, 0.2),
        dropout: float = 0.25,
        first_row: int = 0,
        every_step: bool = False,
        seed: int = 0,
    ) -> None:
        T, B, H = sizes
        self.recurrence, self.bias, self.norm = recurrence, bias, norm
        self.generator = torch.Generator().manual_seed(seed)
        self.states = 2 if recurrence == "LSTM" else 1
        rows = GATES[recurrence] * H
        shapes = [(T, B, INPUT), *[(B, H)] * self.states, (rows, INPUT), (rows, H), *[(rows,)] * (2 * bias)]
        if norm:
            shapes += [(rows,), (rows,), *[(H,)] * ((1 + bias) * (recurrence == "LSTM"))]
        self.tensors = [self.random(*shape).mul_(0.5).to(dtype).requires_grad_() for shape in shapes]
        self.options = {
            "draws": Draws(key=2**62 + 12345, layer=1, first_row=first_row) if training else None,
            "zoneout_cell": zoneout[0] if recurrence == "LSTM" else 0.0,
            "zoneout_hidden": zoneout[1],
            "recurrent_dropout": dropout if recurrence != "RNN" else 0.0,
            "variant": variant,
            "every_step": every_step,
        }

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=F64).to(DEVICE)

    def run(self, backend: str) -> tuple[Tensor, ...]:
        """The output and the last states, or the states of every step."""
        x, *rest = self.tensors
        states: States = tuple(rest[: self.states])
        weights, gains = rest[self.states :], None
        if self.norm:
            number = 2 + 2 * self.bias
            weights, gains = weights[:number], Gains(*weights[number:])
        layer = Layer(Weights(*map(Dense, weights[:2]), *weights[2:]), gains=gains, **self.options)
        kernel = cuda.kernel(self.recurrence) if backend == "fused" else dispatch.kernel(self.recurrence, backend, "")
        output, last = kernel(x, states, layer)
        return output, *last

    def gradients(self, results: tuple[Tensor, ...], seed: int = 1) -> tuple[Tensor, ...]:
        """Of a random linear function of the results."""
        self.generator.manual_seed(seed)
        loss = torch.stack([(result * self.random(*result.shape)).sum() for result in results]).sum()
        return torch.autograd.grad(loss, self.tensors)


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...], tolerance: float) -> None:
    """Equal up to a part of the largest value, in value, shape and type."""
    for mine, theirs in zip(got, want, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        scale = theirs.abs().max().item() if theirs.numel() else 0.0
        torch.testing.assert_close(mine, theirs, rtol=0.0, atol=tolerance * scale)


def check(problem: Problem, tolerance: float) -> None:
    """Outputs, last states and every gradient against the reference."""
    got, want = problem.run("fused"), problem.run("reference")
    assert_same(got, want, tolerance)
    assert_same(problem.gradients(got), problem.gradients(want), tolerance)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_equals_the_reference(recurrence: tuple[str, str], norm: bool, training: bool) -> None:
    check(Problem(*recurrence, norm=norm, training=training), 1e-12)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1, 5), (1, 2, 300), (2, 0, 3)], ids=str)
def test_sizes(recurrence: tuple[str, str], sizes: tuple[int, int, int]) -> None:
    check(Problem(*recurrence, sizes, bias=False), 1e-12)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 1e-6), (F16, 4e-3), (BF16, 3e-2)], ids=str)
def test_types(recurrence: tuple[str, str], dtype: torch.dtype, tolerance: float) -> None:
    check(Problem(*recurrence, dtype=dtype), tolerance)


@pytest.mark.parametrize("sizes", [(2, 2, 5), (2, 2, 300)], ids=str)
@pytest.mark.parametrize("recurrence", RECURRENCES[:3], ids="-".join)
def test_layer_norm_of_other_sizes_without_biases(recurrence: tuple[str, str], sizes: tuple[int, int, int]) -> None:
    check(Problem(*recurrence, sizes, norm=True, bias=False, training=False), 1e-12)


@pytest.mark.parametrize("rate", [0.0, 1e-12, 1.0])
@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
def test_rates_at_the_ends(recurrence: tuple[str, str], rate: float) -> None:
    check(Problem(*recurrence, (2, 2, 3), zoneout=(rate, 0.0), dropout=rate), 1e-12)
    check(Problem(*recurrence, (2, 2, 3), zoneout=(0.0, rate), dropout=0.0), 1e-12)


@pytest.mark.parametrize(
    ("key", "layer", "kind", "rate", "first_row"),
    [
        (0, 0, Kind.ZONEOUT_CELL, 0.5, 0),
        (2**63 - 2, 3, Kind.ZONEOUT_HIDDEN, 0.05, 5),
        (2**31, 1, Kind.RECURRENT_DROPOUT, 0.999, 2**31 - 3),
        (9, 0, Kind.ZONEOUT_CELL, 0.0, 1),
        (9, 0, Kind.ZONEOUT_HIDDEN, 1.0, 1),
    ],
)
def test_masks_to_the_bit(key: int, layer: int, kind: Kind, rate: float, first_row: int) -> None:
    from lsseq.nn.kernels.cuda.masks import Masks, draw

    rates = [0.0, 0.0, 0.0]
    rates[kind] = rate
    shape = (4, 3, 65)
    drawn = draw(Masks.of(Draws(key, layer, first_row), tuple(rates), DEVICE, F32), kind, *shape)
    want = bernoulli(key, layer, kind, rate, *shape, first_row=first_row, device=DEVICE)
    assert torch.equal(drawn, want.to(F32))


def test_rows_of_a_larger_batch_see_its_masks() -> None:
    check(Problem("LSTM", "", first_row=11), 1e-12)
    here, elsewhere = (Problem("LSTM", "", first_row=row).run("fused")[0] for row in (0, 11))
    assert not torch.equal(here, elsewhere)


def test_tanh_has_all_digits_near_zero() -> None:
    H = 64
    x = torch.logspace(-7, 1, H, device=DEVICE).expand(1, 1, H)
    weights = Weights(Dense(torch.eye(H, device=DEVICE)), Dense(torch.zeros(H, H, device=DEVICE)))
    output, _ = cuda.kernel("RNN")(x, (torch.zeros(1, H, device=DEVICE),), Layer(weights, None, variant="tanh"))
    torch.testing.assert_close(output.to(F64), x.to(F64).tanh(), rtol=5e-7, atol=0.0)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
def test_without_gradients_the_result_is_the_same(recurrence: tuple[str, str], norm: bool) -> None:
    problem = Problem(*recurrence, norm=norm)
    with torch.no_grad():
        assert_same(problem.run("fused"), tuple(result.detach() for result in problem.run("fused")), 0.0)


def test_calls_that_live_at_a_time_do_not_meet() -> None:
    problems = [Problem("LSTM", "", seed=seed) for seed in range(3)]
    alone = [problem.gradients(problem.run("fused")) for problem in problems]
    together = [problem.run("fused") for problem in problems]
    for problem, results, want in reversed(list(zip(problems, together, alone, strict=True))):
        assert_same(problem.gradients(results), want, 0.0)


def test_a_second_backward_pass_gives_the_same() -> None:
    problem = Problem("GRU", "before")
    output = problem.run("fused")[0].sum()
    first, second = (torch.autograd.grad(output, problem.tensors, retain_graph=True) for _ in range(2))
    assert_same(second, first, 0.0)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradients_of_a_part_of_the_results(part: int) -> None:
    problem = Problem("LSTM", "")
    got, want = (problem.gradients((problem.run(backend)[part],)) for backend in ("fused", "reference"))
    assert_same(got, want, 1e-12)


def test_tensors_that_are_not_contiguous() -> None:
    problem = Problem("LSTM", "")
    whole = [torch.stack([tensor, tensor], dim=-1).detach() for tensor in problem.tensors]
    problem.tensors = [tensor[..., 0].requires_grad_() for tensor in whole]
    assert not problem.tensors[0].is_contiguous()
    check(problem, 1e-12)


def test_only_some_tensors_want_gradients() -> None:
    problem = Problem("LSTM", "")
    for tensor in problem.tensors[1:]:
        tensor.requires_grad_(False)
    got, want = (
        torch.autograd.grad(problem.run(backend)[0].sum(), problem.tensors[0]) for backend in ("fused", "reference")
    )
    assert_same(got, want, 1e-12)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
def test_states_of_every_step(recurrence: tuple[str, str]) -> None:
    check(Problem(*recurrence, norm=True, every_step=True), 1e-12)
    problem = Problem(*recurrence, every_step=True)
    with torch.no_grad():
        assert_same(problem.run("fused"), problem.run("reference"), 1e-12)


def test_double_backward_is_refused() -> None:
    problem = Problem("RNN", "tanh")
    (gradient,) = torch.autograd.grad(problem.run("fused")[0].sum(), problem.tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative; use backend='reference'"):
        gradient.sum().backward()


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
def test_nan_goes_where_the_reference_lets_it_go(recurrence: tuple[str, str]) -> None:
    problem = Problem(*recurrence)
    with torch.no_grad():
        problem.tensors[0][1, 0] = torch.nan
    got, want = problem.run("fused"), problem.run("reference")
    pairs = zip((*got, *problem.gradients(got)), (*want, *problem.gradients(want)), strict=True)
    for mine, theirs in pairs:
        assert torch.equal(mine.isnan(), theirs.isnan())
    assert got[0].isnan().any()


@pytest.mark.skipif(DEVICE == "cuda", reason="Triton works here")
def test_without_a_gpu_triton_is_an_obstacle() -> None:
    script = "import torch; from lsseq.nn.kernels import cuda; print(cuda.obstacle(torch.float32))"
    assert run_compiled("-c", script).startswith("Triton does not work here (RuntimeError: 0 active drivers")


def run_compiled(*arguments: str, **environment: str) -> str:
    """What Python prints where Triton's interpreter is off."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *arguments], env=inherited | environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(DEVICE == "cuda", reason="the kernels run here")
def test_kernels_compile_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    """The interpreter is more lenient than the compiler, which needs no GPU."""
    names = run_compiled(str(Path(__file__).with_name("compile_cuda.py")), TRITON_CACHE_DIR=str(tmp_path))
    assert set(names.split()) == {
        *("lstm._forward", "lstm._backward", "rnn._forward", "rnn._backward", "gru._forward", "gru._backward"),
        *("gru._forward_gates", "gru._forward_candidate", "gru._backward_reset", "masks._draw"),
    }
