"""The mask engine: what a coin reaches, how two are coupled, which parts survive."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lsseq.nn.cells.rnn import RNNCell
from lsseq.nn.kernels.layer import Layer, Weights
from lsseq.nn.kernels.reference import loop
from lsseq.nn.parts.coins import Coin, Pair, mix, reaching, schedule, shape_of, survival_rates, survivors
from lsseq.nn.parts.transition import Dense
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Draws, Kind, by_row, first_row

T, B, H = 7, 5, 40
X = torch.zeros(T, B, 3, dtype=torch.float64)
DRAWS = Draws(123456789012345)


def coin(rate: float, over: str = "step") -> Coin:
    return Coin(Kind.SWAPOUT_INPUT, rate, over)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("over", "shape"), [("batch", (1, 1, H)), ("sequence", (1, B, H)), ("step", (T, B, H))], ids=str
)
def test_what_a_coin_reaches(over: str, shape: tuple[int, int, int]) -> None:
    theta = coin(0.5, over).toss(DRAWS, X, H)
    assert isinstance(theta, torch.Tensor)
    assert (theta.shape, theta.dtype) == (shape, X.dtype)
    assert set(theta.unique().tolist()) == {0.0, 1.0}
    events = reaching(DRAWS, over).mask(Kind.SWAPOUT_INPUT, 0.5, shape_of(X, over, H))  # type: ignore[arg-type]
    assert torch.equal(theta, events.double())


@pytest.mark.parametrize("over", ["batch", "sequence", "step"])
def test_processes_that_hold_parts_of_a_batch_toss_the_same_coins(over: str) -> None:
    whole = coin(0.5, over).toss(Draws.here(5), X, H)
    with first_row(2):
        part = coin(0.5, over).toss(Draws.here(5), X[:, 2:], H)
    assert isinstance(whole, torch.Tensor)
    assert torch.equal(part, whole if over == "batch" else whole[:, 2:])  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_numbers_take_the_place_of_coins(rate: float) -> None:
    assert coin(rate).toss(None, X, H) == rate
    if rate in (0.0, 1.0):
        assert coin(rate).toss(DRAWS, X, H) == rate


def test_couplings() -> None:
    def pair(coupling: str) -> tuple[torch.Tensor, torch.Tensor]:
        coins = coin(0.3), Coin(Kind.SWAPOUT_BRANCH, 0.6)
        return Pair(*coins, coupling).toss(DRAWS, torch.zeros(40, 50, 3), H)  # type: ignore[arg-type, return-value]

    first, second = pair("complementary")
    assert torch.equal(second, 1 - first)
    first, second = pair("equal")
    assert torch.equal(second, first)
    first, second = pair("independent")
    n = first.numel()
    for found, expected in ((first, 0.3), (second, 0.6), (first * second, 0.18)):
        assert abs(found.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_ones_change_nothing() -> None:
    a, b = torch.randn(2, T, B, H)
    assert torch.equal(mix(1.0, a, 1.0, b), a + b)
    assert torch.equal(mix(1.0, a, 0.0, b), a)


def test_zoneout_is_skip_forward_along_time() -> None:
    """To the bit, with the same masks: h_t = Θ₁ ⊙ h_{t-1} + Θ₂ ⊙ f(x_t, h_{t-1})."""
    torch.manual_seed(0)
    x, h = torch.randn(T, B, 3, dtype=torch.float64), torch.zeros(B, H, dtype=torch.float64)
    weights = Weights(Dense(torch.randn(H, 3).double()), Dense(torch.randn(H, H).double()))
    output, _ = loop(RNNCell)(x, (h,), Layer(weights, DRAWS, zoneout_hidden=0.4))
    coins = Coin(Kind.ZONEOUT_HIDDEN, 0.4), Coin(Kind.ZONEOUT_HIDDEN, 0.6)
    old, new = Pair(*coins, "complementary").toss(DRAWS, x, H)
    assert isinstance(old, torch.Tensor)
    assert isinstance(new, torch.Tensor)
    plain = RNNCell(Layer(weights, None), x)
    for t in range(T):
        (candidate,) = plain.step(plain.inputs[t], (h,), t)
        h = mix(old[t], h, new[t], candidate)
        assert torch.equal(h, output[t])


def test_zoneout_at_the_ends_of_its_rates() -> None:
    old, new = torch.randn(2, B, H)
    for draws in (None, DRAWS):
        assert torch.equal(zoneout(1.0, draws, Kind.ZONEOUT_HIDDEN, X, H)(old, new, 0), old)
        assert torch.equal(zoneout(0.0, draws, Kind.ZONEOUT_HIDDEN, X, H)(old, new, 0), new)


# --------------------------------------------------------------------------------------------------------- survivors


@pytest.mark.parametrize("least", [0, 1, 2, 3])
def test_at_least_so_many_survive_at_the_rates_that_are_told(least: int) -> None:
    rates = (0.9, 0.4, 0.2)
    n = 20000
    alive = survivors(DRAWS, Kind.DROP_PATH, rates, (1, n, 1), least)
    assert alive.shape == (3, 1, n, 1)
    assert alive.sum(0).min() == least
    told = survival_rates(rates, least)
    for one, rate in zip(alive, told, strict=True):
        assert abs(one.double().mean() - rate) <= 4 * math.sqrt(rate * (1 - rate) / n) + 1e-9
    if least == 0:
        assert told == rates
        masks = [Draws(DRAWS.key, l).mask(Kind.DROP_PATH, rate, (1, n, 1)) for l, rate in enumerate(rates)]
        assert torch.equal(alive, torch.stack(masks))


def test_those_that_are_brought_back_are_any_of_the_fallen() -> None:
    n = 20000
    alive = survivors(DRAWS, Kind.DROP_PATH, [0.6, 0.3, 0.1], (1, n, 1), 1).squeeze()
    others = survivors(DRAWS, Kind.DROP_PATH, [0.6, 0.3, 0.1], (1, n, 1), 0).squeeze()
    back = alive[:, ~others.any(0)].double()
    assert (back.sum(0) == 1).all()
    assert back.mean(1).tolist() == pytest.approx([1 / 3] * 3, abs=4 * math.sqrt(2 / 9 / back.shape[1]))


@pytest.mark.parametrize("least", [0, 1, 2, 4])
def test_survival_rates_by_enumeration(least: int) -> None:
    rates = (0.9, 0.7, 0.5, 0.25)
    expected = [0.0] * 4
    for alive in itertools.product([False, True], repeat=4):
        p = math.prod(rate if one else 1 - rate for one, rate in zip(alive, rates, strict=True))
        missing = max(0, least - sum(alive))
        for l, one in enumerate(alive):
            expected[l] += p * (1.0 if one else missing / (4 - sum(alive)))
    assert survival_rates(rates, least) == pytest.approx(expected, abs=1e-12)


def test_schedules() -> None:
    assert schedule(0.5, "constant", 3, first_is_safe=False) == [0.5, 0.5, 0.5]
    assert schedule(0.5, "linear", 3, first_is_safe=False) == pytest.approx([5 / 6, 2 / 3, 1 / 2])
    assert schedule(0.5, "linear", 3, first_is_safe=True) == pytest.approx([1, 3 / 4, 1 / 2])
    assert schedule(0.5, "linear", 1, first_is_safe=True) == [1]
    # The expected depth of Huang et al. 2016, (3 L - 1) / 4.
    assert sum(schedule(0.5, "linear", 54, first_is_safe=False)) == pytest.approx((3 * 54 - 1) / 4)


def test_rows_that_are_calls_have_coins_of_their_own() -> None:
    x, draws = torch.zeros(3, 4, 5), Draws(7, first_row=2, first_step=5)
    coin = Coin(Kind.SWAPOUT_INPUT, 0.5, "batch")
    shared = coin.toss(draws, x, 5)
    with by_row():
        own = coin.toss(draws, x, 5)
    assert own.shape == (1, 4, 5)
    assert torch.equal(own, Coin(Kind.SWAPOUT_INPUT, 0.5, "sequence").toss(draws, x, 5))
    assert torch.equal(coin.toss(draws, x, 5), shared)
    assert shared.shape == (1, 1, 5)
