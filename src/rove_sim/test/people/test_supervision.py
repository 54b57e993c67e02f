# SPDX-License-Identifier: Apache-2.0
"""The supervisor pauses when something goes wrong, late as a person does, hands over when aligned, marks recovery when
progress is sustained, and counts what it did.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from rove_contract.modes import Mode, Trigger, next_mode
from rove_sim.people.supervision import FORCE, RESET, Patience, Supervision, View
from rove_sim.people.watching import Attention, Watch

QUIET = {"advance": 0.0, "trouble": "", "success": False, "recoverable": True, "resets": 1, "seated": True}
PROMPT = Attention(reaction_s=0.2, spread=0.0, miss_rate=0.0, false_alarm_hz=0.0, mark_s=0.1)


class StubWatch(Watch):
    """A task whose state says what a person sees."""

    def advance(self, state):
        return state["advance"]

    def trouble(self, state, now):
        return state["trouble"]


TASK = SimpleNamespace(make_watch=StubWatch)


class World:
    """Calls the supervision at 20 Hz and applies its triggers through the contract's table."""

    def __init__(self, attention=PROMPT, **options):
        self.supervision = Supervision(TASK, attention=attention, rng=np.random.default_rng(1), **options)
        self.mode, self.now, self.sim, self.alignment = Mode.IDLE, 0.0, dict(QUIET), 0.1
        self.waiting, self.closed = "", True
        self.actions = []

    def run(self, seconds, *, rise=0.0, **changes):
        self.sim |= changes
        for _ in range(round(seconds * 20)):
            self.now += 0.05
            self.sim["advance"] += rise * 0.05
            view = View(self.now, self.mode, dict(self.sim), self.alignment, self.waiting, self.closed)
            action = self.supervision.update(view)
            if action is None:
                continue
            self.actions.append(action)
            if isinstance(action, Trigger):
                self.mode = next_mode(self.mode, action)
            elif action == FORCE:
                self.mode = next_mode(self.mode, Trigger.TAKEOVER)
        return self


def test_it_starts_only_when_everything_is_up_and_the_robot_is_at_the_start():
    world = World(episodes=1)
    world.waiting = "the policy"
    assert world.run(2.0).actions == []
    world.waiting = ""
    assert world.run(1.0, seated=False).actions == []
    assert world.run(1.0, seated=True).actions == [Trigger.START_ROLLOUT]


def test_an_intervention_runs_from_trouble_to_success():
    world = World(episodes=1).run(1.0, rise=0.05).run(0.5, rise=0.05, trouble="eraser dropped")
    assert world.actions == [Trigger.START_ROLLOUT, Trigger.PAUSE]
    assert world.supervision.tally.reasons == ["eraser dropped"]
    world.run(1.0, trouble="")
    assert world.mode is Mode.ADAPTATION
    world.run(2.0)
    assert world.mode is Mode.ADAPTATION, "no progress, so nothing is recovered"
    world.run(2.0, rise=0.05)
    assert world.mode is Mode.RECOVERY
    world.run(1.0, success=True)
    assert world.actions[-1] is Trigger.SUCCEED
    tally = world.supervision.tally
    assert (tally.episodes, tally.success, tally.interventions, tally.autonomous_success) == (1, 1, 1, 0)


def test_trouble_that_passes_before_the_person_reacts_is_let_go():
    world = World(Attention(reaction_s=1.0, spread=0.0, miss_rate=0.0, false_alarm_hz=0.0), episodes=1).run(1.0)
    world.run(0.8, trouble="wiping does not advance toward the ink").run(0.5, rise=0.05, trouble="")
    assert Trigger.PAUSE not in world.actions
    assert Trigger.PAUSE in world.run(1.5, trouble="wiping does not advance toward the ink").actions


def test_a_missed_trouble_is_noticed_later():
    missed = World(Attention(0.2, 0.0, miss_rate=1.0, missed_s=3.0, false_alarm_hz=0.0), episodes=1).run(0.5)
    assert Trigger.PAUSE not in missed.run(2.5, rise=0.05, trouble="eraser dropped").actions
    assert Trigger.PAUSE in missed.run(1.5, rise=0.05).actions


def test_people_also_pause_when_nothing_is_wrong():
    alarms = [World(Attention(false_alarm_hz=hz), episodes=1).run(20.0, rise=0.05) for hz in (0.0, 2.0)]
    assert [Trigger.PAUSE in world.actions for world in alarms] == [False, True]
    assert alarms[1].supervision.mistaken and alarms[1].supervision.tally.mistaken == 1


def test_a_stall_is_trouble_and_progress_is_not():
    world = World(episodes=1, patience=Patience(patience_s=2.0)).run(6.0, rise=0.05)
    assert Trigger.PAUSE not in world.actions
    assert Trigger.PAUSE in world.run(3.0).actions
    assert world.supervision.tally.reasons == ["no progress for 2 s"]


def test_takeover_waits_for_alignment_and_is_forced_in_the_end():
    world = World(episodes=1, patience=Patience(force_s=3.0)).run(0.5)
    world.alignment = 0.9
    world.run(1.0, trouble="eraser dropped").run(1.0)
    assert world.mode is Mode.PAUSED
    world.run(3.0)
    assert world.actions[-1] == FORCE and world.mode is Mode.ADAPTATION and world.supervision.tally.forced == 1


@pytest.mark.parametrize("mode", [Mode.ROLLOUT, Mode.RECOVERY])
def test_a_task_that_cannot_be_done_any_more_fails(mode):
    world = World(episodes=1).run(0.5)
    if mode is Mode.RECOVERY:
        world.run(1.0, trouble="eraser dropped").run(4.0, rise=0.05, trouble="")
    assert world.mode is mode
    world.run(2.0, recoverable=False)
    assert world.actions[-1] is Trigger.FAIL and world.supervision.tally.failure == 1


def test_without_interventions_a_rollout_ends_as_the_policy_ends_it():
    world = World(episodes=1, intervene=False, patience=Patience(autonomous_s=5.0)).run(4.0, trouble="eraser dropped")
    assert world.actions == [Trigger.START_ROLLOUT]
    assert world.run(3.0).actions == [Trigger.START_ROLLOUT, Trigger.FAIL]


def test_an_operator_who_is_not_done_in_time_fails():
    world = World(kind="demonstration", episodes=1, patience=Patience(demonstration_s=3.0)).run(4.0)
    assert world.actions == [Trigger.START_DEMONSTRATION, Trigger.FAIL]


def test_without_an_automatic_reset_it_asks_for_one():
    world = World(episodes=2, patience=Patience(reset_s=2.0)).run(0.5).run(0.5, success=True)
    assert world.actions == [Trigger.START_ROLLOUT, Trigger.SUCCEED]
    assert world.run(3.0, success=False).actions[2] == RESET
    assert world.run(1.0, resets=2).actions[-1] is Trigger.START_ROLLOUT


def test_it_goes_on_until_enough_interventions_happened():
    world = World(episodes=1, min_interventions=1, max_episodes=3).run(0.5).run(0.5, success=True)
    assert not world.supervision.done
    world.run(1.0, success=False, resets=2).run(1.5, trouble="eraser dropped").run(3.0, rise=0.05, trouble="")
    world.run(1.0, success=True)
    assert world.supervision.done and world.supervision.tally.interventions == 1
