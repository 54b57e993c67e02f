# SPDX-License-Identifier: Apache-2.0
"""The teleoperation gap shrinks with skill, and what people do after a takeover lasts as long as the gap says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_sim.people import adaptation
from rove_sim.people.gap import NO_GAP, Gap, Wander
from rove_sim.people.mistakes import Making, Mistake


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_more_skilled_person_has_the_smaller_gap_in_everything(a, b):
    low, high = Gap.of(min(a, b)), Gap.of(max(a, b))
    for name in ("delay_s", "perception_m", "tracking_rad", "tolerance", "force", "mistakes", "residual_rad"):
        assert getattr(high, name) <= getattr(low, name)
    assert high.speed >= low.speed and high.adaptation_s <= low.adaptation_s


def test_skill_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        Gap.of(1.2)


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_adaptation_lasts_as_long_as_the_gap_says_and_begins_with_hesitation(seed, skill):
    gap = Gap.of(skill)
    plan = adaptation.draw(np.random.default_rng(seed), gap)
    seconds = sum(behaviour.seconds for behaviour in plan)
    assert gap.adaptation_s[0] <= seconds + 1e-9 and seconds <= gap.adaptation_s[1] + 1e-9
    assert plan[0].kind == "hesitate" and {behaviour.kind for behaviour in plan} <= set(adaptation.KINDS)


def test_the_expert_does_not_adapt():
    assert adaptation.draw(np.random.default_rng(0), NO_GAP) == ()


def test_wandering_keeps_its_spread_and_is_smooth():
    wander = Wander(np.random.default_rng(0), 200, 0.01, 2.0)
    values = np.array([wander.advance(0.05) for _ in range(400)])
    assert 0.008 < values.std() < 0.012
    assert np.abs(np.diff(values, axis=0)).std() < 0.3 * values.std()


class StubExpert:
    def __init__(self):
        self.manner, self.phase = {"speed": 1.0}, "approach"


def test_a_mistake_begins_with_its_phase_and_ends_when_the_person_notices():
    def change(manner, rng):
        manner["speed"] = 0.1

    making = Making((Mistake("dawdles", ("grasp",), 1.0, change, 1.0),), 1.0, np.random.default_rng(0))
    expert = StubExpert()
    usual = expert.manner
    making.follow(expert, 0.05)
    assert expert.manner is usual and making.made == []
    expert.phase = "grasp"
    making.follow(expert, 0.05)
    assert expert.manner["speed"] == 0.1 and usual["speed"] == 1.0 and making.made == ["dawdles"]
    for _ in range(21):
        making.follow(expert, 0.05)
    assert expert.manner is usual


def test_whoever_has_no_gap_makes_no_mistakes():
    making = Making((Mistake("x", ("a",), 1.0, lambda manner, rng: None, 1.0),), 0.0, np.random.default_rng(0))
    expert = StubExpert()
    for phase in "ab" * 50:
        expert.phase = phase
        making.follow(expert, 0.05)
    assert making.made == []
