"""The fused back end on CUDA against the reference: on a GPU where there is one, else in Triton's interpreter.

Here each step is launched by itself; test_cuda_all_steps.py has the other way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cuda_problem import BF16, DEVICE, F16, F32, F64, RECURRENCES, Problem, assert_same, check, needs_triton

from lsseq.nn.kernels import cuda
from lsseq.nn.kernels.layer import Layer, Weights
from lsseq.nn.parts.transition import Dense
from lsseq.nn.random import Draws, Kind, bernoulli

pytestmark = needs_triton


@pytest.fixture(autouse=True)
def each_step(poison: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsseq.nn.kernels.cuda.launch.serves_all_steps", lambda call: False)


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
    both = [f"{cell}.{way}" for cell in ("lstm", "gru", "rnn") for way in ("_forward", "_backward")]
    assert set(names.splitlines()) == {
        *(*both, *(f"{name} of all steps" for name in both), "masks._draw"),
        *("gru._forward_gates", "gru._forward_candidate", "gru._backward_reset"),
    }
