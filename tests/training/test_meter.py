"""Sums between two lines of the log, and the clock."""

from __future__ import annotations

import json
import math
import time

import pytest
import torch

from lsseq.training.meter import Clock, Meter


def filled() -> Meter:
    meter = Meter(torch.device("cpu"))
    meter.add(torch.tensor(2.0), torch.tensor(0.1), 30, 300)
    meter.add(torch.tensor(1.0), torch.tensor(0.3), 10, 10)
    return meter


def test_nll_is_a_mean_over_targets_and_norm_over_steps() -> None:
    nll, norm = filled().means()
    assert nll == (2.0 * 30 + 1.0 * 10) / 40
    assert norm == pytest.approx(0.2)


def test_nothing_has_no_mean() -> None:
    assert all(map(math.isnan, Meter(torch.device("cpu")).means()))


def test_sums_come_back_exactly_through_json() -> None:
    meter, again = filled(), Meter(torch.device("cpu"))
    meter.add(torch.tensor(1 / 3), torch.tensor(1 / 7), 3, 3)
    again.restore(json.loads(json.dumps(meter.state())))
    assert again.means() == meter.means()
    assert again.state() == meter.state()
    again.reset(5.0)
    assert (again.targets, again.tokens, again.steps, again.since) == (0, 0, 0, 5.0)


def test_clock_counts_on_and_leaves_out_what_is_aside() -> None:
    clock = Clock()
    clock.restore({"total": 100.0, "aside": 40.0})
    time.sleep(0.02)
    assert clock.total() == 100.0, "it stands until it is started"
    clock.start()
    with clock.aside():
        time.sleep(0.02)
    assert clock.total() == pytest.approx(100.02, abs=0.02)
    assert clock.training() == pytest.approx(60.0, abs=0.005)
