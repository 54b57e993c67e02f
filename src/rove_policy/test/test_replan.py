# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from rove_policy.replan import Replanner

Q = np.zeros(50)


def fed(now=0.0, **kwargs):
    replan = Replanner(**kwargs)
    replan.state(Q, now)
    replan.image("image", now)
    return replan


def test_nothing_is_inferred_before_rollout():
    assert fed().observation(0.0, 1) is None


def test_first_chunk_is_due_at_once_and_the_next_after_16_steps_at_20_hz():
    replan = fed()
    replan.start(1)
    assert replan.observation(0.0, 1) is not None
    for now in (0.1, 0.5, 0.79):
        replan.state(Q, now)
        replan.image("image", now)
        assert replan.observation(now, 1) is None
    assert replan.observation(0.8, 1) is not None


def test_pause_drops_the_chunk_that_is_being_computed_and_resume_starts_anew():
    replan = fed()
    replan.start(2)
    observation = replan.observation(0.0, 1)
    assert replan.current(observation)
    replan.stop()
    assert not replan.current(observation)
    replan.start(3)
    assert not replan.current(observation)
    assert replan.observation(0.01, 2) is not None


@pytest.mark.parametrize(
    ("image_at", "state_at", "reason"), [(0.0, 0.95, "ego image missing"), (0.95, 0.5, "robot state missing")]
)
def test_stale_inputs_stop_inference_with_a_named_reason(image_at, state_at, reason):
    replan = Replanner()
    replan.image("image", image_at)
    replan.state(Q, state_at)
    replan.start(4)
    assert replan.missing(1.0) == reason
    assert replan.observation(1.0, 1) is None


def test_a_partial_robot_state_is_refused():
    q = Q.copy()
    q[3] = np.nan
    with pytest.raises(ValueError, match="misses 1 joints"):
        Replanner().state(q, 0.0)
