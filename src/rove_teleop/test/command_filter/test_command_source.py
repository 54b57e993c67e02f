# SPDX-License-Identifier: Apache-2.0
"""Which target is in force: every stop has a named reason, nothing from before a pause is played after it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import timing
from rove_contract.messages import Plan
from rove_contract.modes import ACTIVE, TRANSITIONS, Mode, Source, Trigger
from rove_description import joints
from rove_teleop.command_filter import command_source as cs
from rove_teleop.command_filter import state_check
from rove_teleop.command_filter.command_source import CommandSource

LIMITS = joints.load().limits
TIMES = np.arange(50) / 20.0
POSITIONS = np.tile(np.linspace(0, 0.2, 50)[:, None], 50)
OPERATOR_MODES = (Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION)


class Session:
    """A session that ran in IDLE and then went on to `mode`, with every input fresh at `now`, unless it is named in
    `silent`.
    """

    def __init__(self, mode=Mode.IDLE):
        self.source = CommandSource(LIMITS)
        self.now, self.mode, self.silent = 1000.0, Mode.IDLE, set()
        self.supervisor, self.teleop, self.number = "/supervisor@a:1", "/teleop@a:2", 1
        self.run(0.01)
        self.change(mode)
        self.run(0.05)

    def change(self, mode):
        """A transition, with a stamp of its own."""
        self.mode, self.number = mode, self.number + 1

    def run(self, seconds):
        for _ in range(round(seconds / 0.01)):
            self.now += 0.01
            if "supervisor" not in self.silent:
                self.source.on_mode(self.mode, self.now, self.number, self.supervisor)
            if "robot" not in self.silent:
                self.source.on_state(self.now)
            if "teleop" not in self.silent:
                self.source.on_operator(np.full(50, 0.1), self.now, self.teleop)
            self.target = self.source.target(self.now)
        return self.source.reason

    def chunk(self, age=0.1, plan=None):
        return self.source.on_chunk(POSITIONS, TIMES, age, self.now, plan)


def test_before_any_mode_there_is_no_target():
    source = CommandSource(LIMITS)
    assert source.target(0.0) == (None, None)
    assert source.reason == cs.NO_MODE


@pytest.mark.parametrize("mode", [Mode.IDLE, Mode.PAUSED, Mode.ESTOP])
def test_idle_paused_and_estop_hold_whatever_arrives(mode):
    session = Session(mode)
    session.chunk()
    assert session.run(0.1) == f"holding in {mode.name}"
    assert session.target == (None, None)


@pytest.mark.parametrize("mode", OPERATOR_MODES)
def test_operator_modes_track_teleop_and_stop_when_it_is_stale(mode):
    session = Session(mode)
    assert session.run(0.05) == cs.TRACKING
    session.silent.add("teleop")
    assert session.run(timing.TELEOP_STALE_S - 0.01) == cs.TRACKING
    assert session.run(0.03) == cs.TELEOP_STALE
    assert session.source.level == cs.ERROR
    session.silent.clear()
    assert session.run(0.02) == cs.TRACKING


def test_rollout_tracks_the_chunk_until_it_is_exhausted():
    session = Session(Mode.ROLLOUT)
    assert session.run(0.01) == cs.CHUNK_WAITING
    session.chunk(age=0.0)
    assert session.run(2.4) == cs.TRACKING
    assert session.run(0.1) == cs.CHUNK_EXHAUSTED
    assert session.source.level == cs.ERROR


@pytest.mark.parametrize("mode", [Mode.ROLLOUT, *OPERATOR_MODES])
@pytest.mark.parametrize(
    ("silent", "limit", "reason"),
    [
        ("supervisor", timing.SUPERVISOR_SILENT_S, cs.SUPERVISOR_SILENT),
        ("robot", timing.STATE_MISSING_S, cs.STATE_MISSING),
    ],
)
def test_a_silent_supervisor_or_robot_stops_every_mode_that_moves(mode, silent, limit, reason):
    session = Session(mode)
    session.chunk(age=0.0)
    session.silent.add(silent)
    assert session.run(limit - 0.01) == cs.TRACKING
    assert session.run(0.03) == reason
    assert session.target == (None, None)


@pytest.mark.parametrize("mode", [Mode.IDLE, Mode.PAUSED])
def test_a_silent_supervisor_is_named_also_while_holding(mode):
    session = Session(mode)
    session.silent.add("supervisor")
    assert session.run(0.3) == cs.SUPERVISOR_SILENT


def test_a_chunk_from_before_a_pause_is_never_played_after_it():
    session = Session(Mode.ROLLOUT)
    session.chunk(age=0.0)
    session.run(0.2)
    session.mode = Mode.PAUSED
    session.run(0.1)
    session.chunk(age=0.15)  # was in the air
    session.mode = Mode.ROLLOUT
    assert session.run(0.02) == cs.CHUNK_WAITING
    session.chunk(age=0.3)  # observed before the pause, arrives after the resume
    assert session.run(0.02) == cs.CHUNK_WAITING
    assert session.source.old_chunks == 2
    session.run(0.1)
    session.chunk(age=0.1)
    assert session.run(0.02) == cs.TRACKING


def test_the_operators_target_from_before_a_takeover_is_not_used():
    session = Session(Mode.PAUSED)
    session.silent.add("teleop")
    session.mode = Mode.ADAPTATION
    assert session.run(0.02) == cs.TELEOP_WAITING
    assert session.run(0.15) == cs.TELEOP_STALE


def test_recovery_goes_on_with_the_same_operator_without_a_gap():
    session = Session(Mode.ADAPTATION)
    session.run(0.1)
    session.mode = Mode.RECOVERY
    session.silent.add("teleop")
    assert session.run(0.02) == cs.TRACKING


def test_a_chunk_from_the_future_is_played_from_its_receipt_on():
    session = Session(Mode.ROLLOUT)
    session.run(1.0)
    assert session.chunk(age=-3600.0) == ""
    assert session.run(0.1) == cs.TRACKING
    assert session.source.chunk.clock_suspect == 1


def test_a_chunk_planned_before_the_last_change_of_mode_is_refused_by_name_however_old_it_says_it_is():
    session = Session(Mode.ROLLOUT)
    plan = Plan(session.number, "/policy@a:3", "episode")
    assert session.chunk(age=0.1, plan=plan) == ""
    session.change(Mode.PAUSED)
    session.run(0.8)
    session.change(Mode.ROLLOUT)
    session.run(0.05)
    for age in (-1.0, 0.0, 0.1, 0.6, 3.0, 3600.0):
        assert session.chunk(age, plan) == "an action chunk planned before the last change of mode"
        assert session.run(0.02) == cs.CHUNK_WAITING


def test_a_chunk_older_than_its_horizon_is_refused_by_name():
    session = Session(Mode.ROLLOUT)
    plan = Plan(session.number, "/policy@a:3", "episode")
    session.run(3.0)
    assert session.chunk(TIMES[-1] + 0.01, plan) == "an action chunk older than its own horizon"
    assert session.run(0.02) == cs.CHUNK_WAITING
    assert session.chunk(0.9, plan) == ""  # late, but played from where it is now
    assert session.run(0.02) == cs.TRACKING


def test_two_supervisors_stop_the_robot_and_both_are_named():
    session = Session(Mode.ADAPTATION)
    session.source.on_mode(Mode.ADAPTATION, session.now, 9, "/other@b:7")
    reason = session.run(0.02)
    assert "/supervisor@a:1" in reason and "/other@b:7" in reason and session.target[0] is None
    assert session.source.level == cs.ERROR


def test_two_teleop_nodes_or_two_policies_stop_the_robot_and_both_are_named():
    session = Session(Mode.ADAPTATION)
    session.source.on_operator(np.zeros(50), session.now, "/teleop@b:8")
    reason = session.run(0.02)
    assert "/teleop@a:2" in reason and "/teleop@b:8" in reason and session.target[0] is None
    session = Session(Mode.ROLLOUT)
    for name in ("/policy@a:3", "/policy@b:4"):
        session.chunk(0.0, Plan(session.number, name))
    reason = session.run(0.02)
    assert "/policy@a:3" in reason and "/policy@b:4" in reason and session.target[0] is None


def test_a_filter_that_starts_in_the_middle_of_an_episode_holds_until_the_supervisor_pauses():
    for mode in (Mode.ROLLOUT, *OPERATOR_MODES):
        session = Session()
        session.source = CommandSource(LIMITS)
        session.change(mode)
        assert session.run(0.5) == f"{cs.STARTED_LATE} {mode.name}"
        session.change(Mode.PAUSED)
        session.run(0.05)
        session.change(Mode.ADAPTATION)
        assert session.run(0.05) == cs.TRACKING


def test_an_emergency_stop_ends_with_the_reset_of_the_same_supervisor_only():
    session = Session(Mode.ADAPTATION)
    session.change(Mode.ESTOP)
    assert session.run(0.05) == "holding in ESTOP"
    # another one is started while the first still speaks: not its reset
    session.source.on_mode(Mode.IDLE, session.now, 3, "/other@b:7")
    assert session.source.mode is Mode.ESTOP
    session.run(1.0)
    # the first is killed; its successor knows nothing of the emergency
    session.supervisor, session.number = "/supervisor@a:9", 100
    session.change(Mode.IDLE)
    session.silent.add("supervisor")
    session.run(1.0)
    session.silent.clear()
    assert session.run(0.05) == "holding in ESTOP: /supervisor@a:1 must reset it"
    session.change(Mode.ADAPTATION)
    assert session.run(0.05).startswith("holding in ESTOP") and session.target[0] is None
    session.change(Mode.ESTOP)
    assert session.run(0.05) == "holding in ESTOP"
    session.change(Mode.IDLE)
    assert session.run(0.05) == "holding in IDLE"


@pytest.mark.parametrize("mode", sorted(ACTIVE))
def test_a_supervisor_replaced_in_the_middle_of_an_episode_leaves_an_emergency_stop(mode):
    session = Session(mode)
    session.silent.add("supervisor")
    session.run(2.0)
    session.silent.clear()
    session.supervisor = "/supervisor@a:9"
    session.change(Mode.IDLE)
    assert session.run(0.05) == "holding in ESTOP: the supervisor was replaced"
    session.change(Mode.ESTOP)
    session.run(0.05)
    session.change(Mode.IDLE)
    assert session.run(0.05) == "holding in IDLE"


def test_an_impossible_state_stops_with_its_reason_and_ends_when_the_state_is_possible_again():
    session = Session(Mode.ADAPTATION)
    session.source.on_state(session.now, f"{state_check.IMPOSSIBLE}: right_elbow at 20 rad")
    session.silent.add("robot")
    assert session.run(0.02) == f"{state_check.IMPOSSIBLE}: right_elbow at 20 rad"
    session.silent.clear()
    assert session.run(0.02) == cs.TRACKING


def test_after_a_jump_of_the_state_the_robot_stands_until_the_mode_changes_but_not_where_nobody_drives_it():
    session = Session(Mode.ADAPTATION)
    session.source.on_state(session.now, f"{state_check.JUMPED}: right_elbow")
    assert session.run(0.5).startswith(state_check.JUMPED) and session.target[0] is None
    session.change(Mode.PAUSED)
    assert session.run(0.02) == "holding in PAUSED"
    session.source.on_state(session.now, f"{state_check.JUMPED}: right_elbow")
    assert session.run(0.02) == "holding in PAUSED"


def test_a_state_that_repeats_its_stamp_is_frozen_not_missing():
    session = Session(Mode.ADAPTATION)
    session.silent.add("robot")
    for _ in range(20):
        session.source.on_repeated_state(session.now)
        reason = session.run(0.01)
    assert reason == state_check.FROZEN
    assert session.run(0.2) == cs.STATE_MISSING


def test_the_operators_velocity_is_found_and_a_jump_is_not_a_velocity():
    session = Session(Mode.ADAPTATION)
    session.silent.add("teleop")
    speed = 0.3 * LIMITS.velocity
    for k in range(60):
        session.now += 1 / 60
        session.source.on_mode(Mode.ADAPTATION, session.now)
        session.source.on_state(session.now)
        # a person does not start at speed either
        session.source.on_operator(speed * max(0.0, min(k / 30, 1.0)) * k / 60, session.now)
    target, velocity = session.source.target(session.now + 0.005)
    np.testing.assert_allclose(velocity, speed, rtol=0.02)
    delay = (speed * (59 / 60 + 0.005) - target) / speed
    assert np.all((delay > 0.0) & (delay < 0.05))
    session.source.on_operator(np.zeros(50), session.now + 0.016)
    assert np.all(session.source.target(session.now + 0.016)[1] == 0.0)


@given(st.lists(st.sampled_from([*Trigger, "wait", "chunk", "late chunk"]), max_size=40))
def test_there_is_a_target_only_in_a_mode_with_a_source_and_only_its_own(events):
    session = Session(Mode.IDLE)
    for event in events:
        if isinstance(event, Trigger):
            session.change(TRANSITIONS.get((session.mode, event), session.mode))
        elif event == "chunk":
            session.chunk(age=0.01)
        elif event == "late chunk":
            session.chunk(age=0.4)
        session.run(0.02)
        target = session.target[0]
        if session.source.source is Source.NONE:
            assert target is None
        if session.source.source is Source.OPERATOR and target is not None:
            np.testing.assert_allclose(target, 0.1)
        assert (target is None) == (session.source.reason != cs.TRACKING)
