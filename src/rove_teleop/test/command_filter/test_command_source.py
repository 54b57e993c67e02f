# SPDX-License-Identifier: Apache-2.0
"""Which target is in force: every stop has a named reason, nothing from before a pause is played after it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import timing
from rove_contract.modes import TRANSITIONS, Mode, Source, Trigger
from rove_description import joints
from rove_teleop.command_filter import command_source as cs
from rove_teleop.command_filter.command_source import CommandSource

LIMITS = joints.load().limits
TIMES = np.arange(50) / 20.0
POSITIONS = np.tile(np.linspace(0, 0.2, 50)[:, None], 50)
OPERATOR_MODES = (Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION)


class Session:
    """A running session with every input fresh at `now`, unless it is named in `silent`."""

    def __init__(self, mode=Mode.IDLE):
        self.source = CommandSource(LIMITS)
        self.now, self.mode, self.silent = 1000.0, mode, set()
        self.run(0.05)

    def run(self, seconds):
        for _ in range(round(seconds / 0.01)):
            self.now += 0.01
            if "supervisor" not in self.silent:
                self.source.on_mode(self.mode, self.now)
            if "robot" not in self.silent:
                self.source.on_state(self.now)
            if "teleop" not in self.silent:
                self.source.on_operator(np.full(50, 0.1), self.now)
            self.target = self.source.target(self.now)
        return self.source.reason

    def chunk(self, age=0.1):
        self.source.on_chunk(POSITIONS, TIMES, age, self.now)


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


def test_a_clock_step_changes_nothing_for_chunks():
    for step in (-3600.0, 3600.0):
        session = Session(Mode.ROLLOUT)
        session.run(1.0)
        session.chunk(age=step)
        assert session.run(0.1) == cs.TRACKING
        assert session.source.chunk.clock_suspect == 1


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
            session.mode = TRANSITIONS.get((session.mode, event), session.mode)
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
