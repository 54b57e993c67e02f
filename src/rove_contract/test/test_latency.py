# SPDX-License-Identifier: Apache-2.0
"""Latencies of the last ten seconds, per stage, survive the way over /diagnostics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import latency
from rove_contract.latency import WINDOW_S, Latency


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=500))
def test_median_p99_and_worst_are_those_of_the_samples(samples):
    stage = Latency("filter")
    for i, seconds in enumerate(samples):
        stage.add(seconds, 100.0 + 0.01 * i)
    [(name, numbers)] = latency.read(stage.values(105.0)).items()
    expected = [*np.percentile(samples, (50, 99)), max(samples)]
    assert name == "filter" and np.allclose(numbers, 1e3 * np.array(expected), atol=0.006)


def test_what_is_older_than_the_window_is_forgotten():
    stage = Latency("input")
    stage.add(0.5, 100.0)
    stage.add(0.01, 100.0 + WINDOW_S)
    assert latency.read(stage.values(100.0 + WINDOW_S + 1.0)) == {"input": (10.0, 10.0, 10.0)}
    assert stage.values(100.0 + 3 * WINDOW_S) == {}


def test_more_samples_than_are_kept_leave_the_newest():
    stage = Latency("robot")
    for i in range(latency.CAPACITY + 100):
        stage.add(1.0 if i < 100 else 0.002, 100.0 + 1e-3 * i)
    assert latency.read(stage.values(103.0))["robot"][2] == 2.0


def test_a_sample_from_the_future_counts_as_none_and_odd_values_are_left_out():
    stage = Latency("dds")
    stage.add(-0.001, 100.0)
    assert latency.read(stage.values(100.0))["dds"] == (0.0, 0.0, 0.0)
    assert latency.read({"latency/dds/p50_ms": "nan", "latency/dds/p99_ms": "1", "latency/dds/max_ms": "1"}) == {}
    assert latency.read({"latency/dds/p50_ms": "fast"}) == {}


def test_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="known: input, retargeting, dds"):
        Latency("brain")
