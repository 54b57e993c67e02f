# SPDX-License-Identifier: Apache-2.0
"""HL-Gauss: the mean of the histogram is the value, and the loss of eq. 5 still finds the expectile."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rove_learning.algorithm.histogram import Histogram
from rove_learning.algorithm.losses import mc_loss, ove_loss

HISTOGRAM = Histogram(51)


@given(st.lists(st.floats(-1, 0, width=32), min_size=1, max_size=8))
def test_a_target_s_mean_is_the_value_and_its_mass_one(values):
    value = torch.tensor(values)
    target = HISTOGRAM.target(value)
    torch.testing.assert_close(target.sum(1), torch.ones(len(values)))
    torch.testing.assert_close(target @ HISTOGRAM.centres, value, atol=2e-4, rtol=0)


def fit(loss, steps=400):
    logits = torch.zeros(1, 51, requires_grad=True)
    optimiser = torch.optim.Adam([logits], 0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(logits.expand(3, -1)).backward()
        optimiser.step()
    return float(HISTOGRAM.mean(logits))


def expectile(targets, tau):
    """By bisection of sum |tau - 1{y < e}| (y - e) = 0."""
    low, high = min(targets), max(targets)
    for _ in range(60):
        e = (low + high) / 2
        balance = sum((tau if y >= e else 1 - tau) * (y - e) for y in targets)
        low, high = (e, high) if balance > 0 else (low, e)
    return e


@pytest.mark.parametrize("tau", [0.5, 0.7, 0.9])
def test_ove_with_a_histogram_finds_the_expectile_of_the_targets(tau):
    targets = torch.tensor([-0.9, -0.5, -0.1])
    zero = torch.zeros(3)
    found = fit(lambda logits: ove_loss(logits, targets, zero, zero, tau, HISTOGRAM))
    assert found == pytest.approx(expectile(targets.tolist(), tau), abs=0.01)


def test_mc_with_a_histogram_finds_the_mean():
    targets = torch.tensor([-0.9, -0.5, -0.1])
    assert fit(lambda logits: mc_loss(logits, targets, HISTOGRAM)) == pytest.approx(-0.5, abs=0.01)


def test_too_few_bins_are_refused():
    with pytest.raises(ValueError, match="at least 12 bins, got 5"):
        Histogram(5)


def test_expectile_by_bisection_is_right_at_half():
    assert expectile([-0.9, -0.5, -0.1], 0.5) == pytest.approx(np.mean([-0.9, -0.5, -0.1]))
