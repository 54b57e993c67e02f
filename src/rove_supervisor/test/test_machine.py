# SPDX-License-Identifier: Apache-2.0
"""The mode machine: the table decides, conditions guard starts and takeovers, publications come in the right order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract.episode import Episode
from rove_contract.modes import ACTIVE, TRANSITIONS, Mode, Outcome, Refused, Trigger
from rove_supervisor.machine import Conditions, EpisodeSettings, Machine, Transition, episode_id

SETTINGS = EpisodeSettings("erase_whiteboard", "erase the whiteboard", "suit", "c1", "grasped")
FINE = Conditions()


def drive(*triggers, conditions=FINE, force=False):
    machine = Machine(1)
    out = [
        machine.request(trigger, conditions, SETTINGS, 10 * (i + 1), force=force) for i, trigger in enumerate(triggers)
    ]
    return machine, out


REASONS = st.tuples(*[st.sampled_from(["", "no"])] * 5)


@given(st.lists(st.tuples(st.sampled_from(list(Trigger)), st.booleans(), st.integers(-5, 1000), REASONS), max_size=40))
def test_any_sequence_of_requests_keeps_mode_and_episode_consistent(requests):
    machine, stamps, open_episode = Machine(0), [0], None
    for trigger, force, stamp, reasons in requests:
        before, conditions = machine.mode, Conditions(*reasons)
        predicted = machine.refusal(trigger, conditions, force=force)
        try:
            published = machine.request(trigger, conditions, SETTINGS, stamp, force=force)
        except Refused as error:
            assert str(error) == predicted and machine.mode is before
            continue
        assert not predicted
        assert TRANSITIONS[before, trigger] is machine.mode
        (transition,) = (p for p in published if isinstance(p, Transition))
        assert (transition.previous, transition.trigger, transition.mode) == (before, trigger, machine.mode)
        stamps.append(transition.stamp_ns)
        for episode in (p for p in published if isinstance(p, Episode)):
            if episode.state == "active" and open_episode != episode.id:
                assert open_episode is None and episode.started_ns == transition.stamp_ns
                open_episode = episode.id
            elif episode.state == "ended":
                assert (
                    episode.id == open_episode
                    and episode.outcome is not Outcome.NONE
                    and episode.ended_ns >= episode.started_ns
                )
                open_episode = None
        assert (open_episode is not None) == (machine.mode in ACTIVE)
    assert all(b > a for a, b in zip(stamps, stamps[1:])), "stamps strictly increase, whatever the clock does"


@pytest.mark.parametrize("mode", Mode)
def test_estop_is_possible_in_every_mode(mode):
    machine = Machine(0)
    machine.last = Transition(Mode.IDLE, None, mode, 0)
    machine.episode = Episode("e", "t")
    assert machine.refusal(Trigger.ESTOP, Conditions("no robot", "no recorder", "no operator")) == ""


def test_a_start_announces_the_episode_before_the_mode():
    _, ((episode, transition),) = drive(Trigger.START_ROLLOUT)
    assert episode.state == "active" and transition.mode is Mode.ROLLOUT
    assert (episode.kind, episode.operator, episode.checkpoint, episode.start_stage) == (
        "rollout",
        "suit",
        "c1",
        "grasped",
    )
    assert episode.instruction == "erase the whiteboard"


def test_a_demonstration_carries_no_checkpoint():
    _, ((episode, _),) = drive(Trigger.START_DEMONSTRATION)
    assert (episode.kind, episode.checkpoint) == ("demonstration", "")


@pytest.mark.parametrize(
    "end, outcome",
    [(Trigger.SUCCEED, Outcome.SUCCESS), (Trigger.FAIL, Outcome.FAILURE), (Trigger.ABORT, Outcome.ABORTED)],
)
def test_an_end_leaves_the_mode_before_the_episode_ends(end, outcome):
    _, out = drive(Trigger.START_ROLLOUT, end)
    transition, episode = out[-1]
    assert transition.mode is Mode.IDLE and episode.state == "ended" and episode.outcome is outcome


def test_estop_aborts_the_episode_and_says_so():
    _, out = drive(Trigger.START_ROLLOUT, Trigger.ESTOP)
    transition, episode = out[-1]
    assert transition.mode is Mode.ESTOP and episode.outcome is Outcome.ABORTED and episode.note == "e-stop"


def test_t_r_is_the_first_recovered():
    pause_and_back = (Trigger.PAUSE, Trigger.TAKEOVER, Trigger.RECOVERED)
    machine, _ = drive(Trigger.START_ROLLOUT, *pause_and_back, *pause_and_back, Trigger.SUCCEED)
    assert machine.episode.t_r_ns == 40
    machine, _ = drive(Trigger.START_ROLLOUT, Trigger.PAUSE, Trigger.TAKEOVER, Trigger.SUCCEED)
    assert machine.episode.t_r_ns == 0


def test_a_start_needs_robot_and_recorder():
    for conditions in (Conditions(robot="no robot"), Conditions(recorder="no recorder")):
        with pytest.raises(Refused, match="no r"):
            drive(Trigger.START_ROLLOUT, conditions=conditions)


def test_a_rollout_needs_a_policy_to_start_and_to_resume_and_a_demonstration_does_not():
    conditions = Conditions(policy="no policy")
    with pytest.raises(Refused, match="no policy"):
        drive(Trigger.START_ROLLOUT, conditions=conditions)
    machine, _ = drive(Trigger.START_ROLLOUT, Trigger.PAUSE)
    assert machine.refusal(Trigger.RESUME, conditions) == "no policy"
    machine, _ = drive(Trigger.START_DEMONSTRATION, conditions=conditions)
    assert machine.mode is Mode.DEMONSTRATION


def test_takeover_needs_an_aligned_operator_unless_forced():
    conditions = Conditions(operator="misaligned: left_elbow")
    with pytest.raises(Refused, match="left_elbow"):
        drive(Trigger.START_ROLLOUT, Trigger.PAUSE, Trigger.TAKEOVER, conditions=conditions)
    machine, _ = drive(Trigger.START_ROLLOUT, Trigger.PAUSE, Trigger.TAKEOVER, conditions=conditions, force=True)
    assert machine.mode is Mode.ADAPTATION


def test_without_a_camera_nothing_starts_resumes_or_is_taken_over_unless_forced():
    conditions = Conditions(camera="the camera is silent")
    for start in (Trigger.START_ROLLOUT, Trigger.START_DEMONSTRATION):
        with pytest.raises(Refused, match="camera"):
            drive(start, conditions=conditions)
    machine, _ = drive(Trigger.START_ROLLOUT, Trigger.PAUSE)
    for trigger in (Trigger.RESUME, Trigger.TAKEOVER):
        assert machine.refusal(trigger, conditions) == "the camera is silent"
    assert machine.refusal(Trigger.TAKEOVER, conditions, force=True) == ""


def test_force_does_not_bend_the_table():
    with pytest.raises(Refused, match="possible here"):
        drive(Trigger.TAKEOVER, force=True)


def test_episode_names_are_fit_for_a_directory():
    assert episode_id("Erase: the/white board", 0, 7) == "Erase_the_white_board-19700101T000000-007"
    assert episode_id("../..", 0, 1).startswith("episode-")
