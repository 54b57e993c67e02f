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
    ("image_at", "state_at", "reason"),
    [(0.0, 0.95, "the picture of the camera ego is missing"), (0.95, 0.5, "robot state missing")],
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


def seen_by_two(at, *, q=Q, wrist="b"):
    replan = Replanner(("ego", "left_wrist"))
    replan.state(Q, 0.0)
    replan.image("a", at["ego"], "ego", "a")
    replan.image("b", at["left_wrist"], "left_wrist", "b")
    for now in (0.3, 0.6, 0.9):  # the ego camera goes on
        replan.state(q, now)
        replan.image("a", now, "ego", f"a{now}")
        replan.image("b", now, "left_wrist", wrist.format(now)) if wrist else None
    replan.state(q, 1.0)
    replan.start(1)
    return replan


@pytest.mark.parametrize(
    "moved, wrist, reason",
    [
        (0.0, "b{}", ""),
        (0.0, "b", ""),  # a still robot sees the same picture
        (0.3, "b{}", ""),
        (0.3, "", "the picture of the camera left_wrist is missing"),
        (0.3, "b", "the camera left_wrist is frozen: the same picture for 1.0 s while moving"),
    ],
)
def test_the_camera_that_is_missing_or_frozen_is_named(moved, wrist, reason):
    replan = seen_by_two({"ego": 0.0, "left_wrist": 0.0}, q=Q + moved, wrist=wrist)
    assert replan.missing(1.0) == reason
    observation = replan.observation(1.0, 1)
    assert (observation is None) == bool(reason)
    assert reason or list(observation.images) == ["ego", "left_wrist"]


def test_another_checkpoint_may_see_other_cameras():
    replan = fed()
    replan.look_at(("left_wrist",))
    replan.image("ignored", 0.0, "ego")
    assert replan.missing(0.0) == "the picture of the camera left_wrist is missing"
