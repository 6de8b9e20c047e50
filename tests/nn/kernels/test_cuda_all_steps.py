"""The CUDA kernels that do all steps in one launch, against the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from cuda_problem import BF16, DEVICE, F16, F32, F64, Problem, assert_same, check, needs_triton

if TYPE_CHECKING:
    from lsseq.nn.kernels.cuda.call import Call

pytestmark = needs_triton

RECURRENCES = [("LSTM", ""), ("GRU", "after"), ("RNN", "tanh"), ("RNN", "relu")]
# The interpreter multiplies tiles of float64, which not every GPU can.
FINE, TOLERANCE = (F64, 1e-12) if DEVICE == "cpu" else (F32, 2e-6)


@pytest.fixture(autouse=True)
def all_steps(poison: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer is small enough, and nothing is multiplied outside the kernels while the steps run."""
    from lsseq.nn.kernels.cuda import launch, products

    monkeypatch.setattr(launch, "serves_all_steps", lambda call: True)
    monkeypatch.setattr(products.Product, "add", lambda *_: pytest.fail("a product at a step"))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    step = products.Backward.step
    monkeypatch.setattr(
        products.Backward, "step", lambda *given: pytest.fail("a product at a step") if given[1] else step(*given)
    )


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of tiles of bfloat16, which the interpreter takes for integers."""
    if DEVICE == "cpu":
        import triton.language as tl
        from triton.runtime.interpreter import InterpreterBuilder

        multiply = InterpreterBuilder.create_dot

        def widened(self: Any, left: Any, right: Any, *rest: Any) -> Any:
            if left.dtype.scalar == tl.bfloat16:
                left, right = (self.cast_impl(operand, tl.float32) for operand in (left, right))
            return multiply(self, left, right, *rest)

        monkeypatch.setattr(InterpreterBuilder, "create_dot", widened)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_equals_the_reference(recurrence: tuple[str, str], training: bool) -> None:
    check(Problem(*recurrence, dtype=FINE, training=training), TOLERANCE)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 17, 70), (2, 0, 3)], ids=str)
def test_sizes(recurrence: tuple[str, str], sizes: tuple[int, int, int]) -> None:
    """More rows than a program has, more units than it does at a time; both odd."""
    check(Problem(*recurrence, sizes, dtype=FINE, bias=False), TOLERANCE)


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 2e-6), (F16, 4e-3), (BF16, 4e-2)], ids=str)
def test_types(recurrence: tuple[str, str], dtype: torch.dtype, tolerance: float) -> None:
    check(Problem(*recurrence, dtype=dtype), tolerance)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
def test_states_of_every_step(recurrence: tuple[str, str]) -> None:
    problem = Problem(*recurrence, dtype=FINE, every_step=True)
    check(problem, TOLERANCE)
    with torch.no_grad():
        assert_same(problem.run("fused"), problem.run("reference"), TOLERANCE)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
def test_without_gradients_the_result_is_the_same(recurrence: tuple[str, str]) -> None:
    problem = Problem(*recurrence, dtype=F32)
    with torch.no_grad():
        assert_same(problem.run("fused"), tuple(result.detach() for result in problem.run("fused")), 0.0)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradients_of_a_part_of_the_results(part: int) -> None:
    problem = Problem("LSTM", "", dtype=FINE)
    got, want = (problem.gradients((problem.run(backend)[part],)) for backend in ("fused", "reference"))
    assert_same(got, want, TOLERANCE)


def test_rows_of_a_larger_batch_see_its_masks() -> None:
    check(Problem("LSTM", "", dtype=FINE, first_row=11), TOLERANCE)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
def test_nan_goes_where_the_reference_lets_it_go(recurrence: tuple[str, str]) -> None:
    problem = Problem(*recurrence, dtype=FINE)
    with torch.no_grad():
        problem.tensors[0][1, 0] = torch.nan
    got, want = problem.run("fused"), problem.run("reference")
    pairs = zip((*got, *problem.gradients(got)), (*want, *problem.gradients(want)), strict=True)
    for mine, theirs in pairs:
        assert torch.equal(mine.isnan(), theirs.isnan())
    assert got[0].isnan().any()


@pytest.mark.parametrize("recurrence", RECURRENCES, ids="-".join)
def test_under_autocast_only_the_products_with_the_input_are_rounded(recurrence: tuple[str, str]) -> None:
    problem = Problem(*recurrence, dtype=F32)
    exact = problem.run("fused")
    with torch.autocast(DEVICE, BF16):
        rounded = problem.run("fused")
        gradients = problem.gradients(rounded)
    assert not torch.equal(rounded[0], exact[0])
    assert_same(rounded, exact, 0.05)
    assert_same(gradients, problem.gradients(exact), 0.2)


def call_of(units: int, dtype: torch.dtype, variant: str = "", **more: torch.Tensor) -> Call:
    """A call of an RNN of 64 rows, as far as the choice depends on it."""
    from lsseq.nn.kernels.cuda.call import Call
    from lsseq.nn.kernels.cuda.masks import Masks

    arrays = {
        "states": torch.empty(3, 64, units, dtype=dtype),
        "weight": torch.empty(units, units, dtype=dtype),
        **more,
    }
    return Call(arrays, Masks.of(None, (0.0, 0.0, 0.0), "cpu", F32), variant, saves=True)


@pytest.fixture
def large_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 128 multiprocessors, and Triton knows how to have programs wait."""
    from lsseq.nn.kernels.cuda import launch

    monkeypatch.undo()
    monkeypatch.setattr(launch, "_multiprocessors", lambda device: 128)
    monkeypatch.setattr(launch, "_programs_can_wait", lambda: True)


@pytest.mark.usefixtures("large_gpu")
@pytest.mark.parametrize(("units", "programs"), [(3, (4, 1)), (512, (4, 32)), (1024, (4, 32)), (2048, (2, 64))])
@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("back", [False, True])
def test_layers_that_the_gpu_holds_are_one_launch(
    units: int, programs: tuple[int, int], dtype: torch.dtype, back: bool
) -> None:
    from lsseq.nn.kernels.cuda.launch import launch

    launches = launch(call_of(units, dtype), back=back)
    assert launches.programs == programs
    assert launches.spans(7) == [(0, 7)]
    rows, columns, depth = (launches.options[name] for name in ("ROWS", "UNITS", "DEPTH"))
    assert 2 * (rows + columns) * depth * dtype.itemsize <= 2**16
    counters = launches.counters()
    assert counters is not None
    assert counters.tolist() == [0] * programs[0]


@pytest.mark.parametrize(
    ("gates", "units", "dtype", "back", "depth"),
    [
        (4, 1024, F32, False, 32),  # 2 · (16 + 4 · 32) · 32 · 4 bytes
        (4, 1024, F32, True, 32),  # 2 · 4 · (16 + 32) · 32 · 4 bytes
        (4, 1024, BF16, False, 64),
        (3, 512, F32, False, 64),  # three gates take the room of four
        (1, 512, F32, True, 64),
        (4, 2048, F32, False, 32),
    ],
)
@pytest.mark.usefixtures("large_gpu")
def test_what_a_program_multiplies_at_a_time(
    gates: int, units: int, dtype: torch.dtype, back: bool, depth: int
) -> None:
    from lsseq.nn.kernels.cuda.launch import launch

    weight = torch.empty(gates * units, units, dtype=dtype)
    assert launch(call_of(units, dtype, weight=weight), back=back).options["DEPTH"] == depth


@pytest.mark.usefixtures("large_gpu")
@pytest.mark.parametrize(
    ("units", "dtype", "variant", "more"),
    [(16384, F32, "", {}), (8, F64, "", {}), (8, F32, "before", {}), (8, F32, "", {"gain": torch.empty(8)})],
    ids=["too large", "float64", "reset before", "layer norm"],
)
def test_others_are_a_launch_a_step(
    units: int, dtype: torch.dtype, variant: str, more: dict[str, torch.Tensor]
) -> None:
    from lsseq.nn.kernels.cuda.launch import launch

    launches = launch(call_of(units, dtype, variant, **more))
    assert launches.weight is None
    assert launches.counters() is None
    assert launches.spans(3) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("allowed", [True, False])
def test_float32_is_rounded_where_cudnn_rounds_it(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from lsseq.nn.kernels.cuda.launch import all_steps

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert all_steps(call_of(4, F32)).options["PRECISION"] == ("tf32" if allowed else "tf32x3")
