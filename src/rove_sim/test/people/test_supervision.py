# SPDX-License-Identifier: Apache-2.0
"""The scripted supervisor pauses near failure, hands over when aligned, calls recovered at sustained progress, and
counts what it did.
"""

import pytest

from rove_contract.modes import Mode, Trigger, next_mode
from rove_sim.people.supervision import FORCE, RESET, Patience, Supervision, View

QUIET = {
    "progress": 0.0,
    "grip_error": 0.2,
    "marks_left": 12,
    "marks": [[0.1, 0.2]],
    "eraser_pos": [0.4, 0.0, 0.2],
    "eraser_grasped": False,
    "hand_closed": False,
    "success": False,
    "recoverable": True,
    "resets": 1,
    "seated": True,
}


class World:
    """Calls the supervision at 20 Hz and applies its triggers through the contract's table."""

    def __init__(self, **kwargs):
        self.supervision = Supervision(**kwargs)
        self.mode, self.now, self.sim, self.alignment = Mode.IDLE, 0.0, dict(QUIET), 0.1
        self.waiting, self.closed = "", True
        self.actions = []

    def run(self, seconds, **changes):
        self.sim |= changes
        for _ in range(round(seconds * 20)):
            self.now += 0.05
            action = self.supervision.update(
                View(self.now, self.mode, dict(self.sim), self.alignment, self.waiting, self.closed)
            )
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


def test_a_successful_rollout_is_left_alone():
    world = World(episodes=1).run(1.0)
    world.run(2.0, progress=0.2, eraser_grasped=True).run(2.0, progress=0.6, marks_left=6)
    world.run(1.0, progress=1.0, marks_left=0, success=True)
    assert world.actions == [Trigger.START_ROLLOUT, Trigger.SUCCEED]
    tally = world.supervision.tally
    assert (tally.success, tally.autonomous_success, tally.interventions) == (1, 1, 0) and world.supervision.done


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"hand_closed": True}, "hand closed"),
        ({}, "no progress"),
    ],
)
def test_near_failure_it_pauses_takes_over_and_lets_the_operator_finish(trouble, reason):
    world = World(episodes=1).run(0.5).run(7.0, **trouble)
    assert (
        world.actions[:3] == [Trigger.START_ROLLOUT, Trigger.PAUSE, Trigger.TAKEOVER] and world.mode is Mode.ADAPTATION
    )
    assert reason in world.supervision.tally.reasons[0]
    world.run(0.2, eraser_grasped=True, hand_closed=True, progress=0.2)
    assert world.mode is Mode.ADAPTATION, "progress must last"
    world.run(1.0)
    assert world.mode is Mode.RECOVERY
    world.run(1.0, success=True, marks_left=0, progress=1.0)
    assert world.actions[3:] == [Trigger.RECOVERED, Trigger.SUCCEED] and world.supervision.tally.interventions == 1


def test_a_dropped_eraser_is_a_reason_to_pause():
    world = (
        World(episodes=1)
        .run(0.5)
        .run(1.0, eraser_grasped=True, progress=0.2)
        .run(2.0, eraser_grasped=False, progress=0.0)
    )
    assert "dropped" in world.supervision.tally.reasons[0]


def test_success_during_adaptation_still_marks_the_recovery_first():
    world = World(episodes=1).run(7.0)
    world.run(1.5, success=True, progress=1.0, marks_left=0)
    assert world.actions[-2:] == [Trigger.RECOVERED, Trigger.SUCCEED]


def test_an_operator_that_stays_misaligned_is_forced_in_after_a_while_and_counted():
    world = World(episodes=1)
    world.alignment = None
    world.run(6.0)
    assert world.mode is Mode.PAUSED
    world.run(16.0)
    assert FORCE in world.actions and world.supervision.tally.forced == 1 and world.mode is Mode.ADAPTATION


def test_an_eraser_out_of_reach_is_a_failure_not_an_intervention():
    world = World(episodes=1).run(0.5).run(2.0, recoverable=False)
    assert world.actions[-1] is Trigger.FAIL and world.supervision.tally.interventions == 0


def test_without_intervention_a_hopeless_rollout_fails_at_its_time_limit():
    world = World(episodes=1, intervene=False, patience=Patience(autonomous_s=10.0)).run(12.0)
    assert world.actions == [Trigger.START_ROLLOUT, Trigger.FAIL] and world.supervision.tally.failure == 1


def test_the_next_episode_waits_for_the_bag_and_a_reset_and_asks_for_one_that_does_not_come():
    world = World(episodes=2).run(0.5).run(1.0, success=True)
    world.closed = False
    assert world.run(3.0).actions[-1] is Trigger.SUCCEED
    world.closed = True
    world.run(6.0)
    assert world.actions[-1] == RESET
    world.run(1.0, resets=2, success=False)
    assert world.actions[-1] is Trigger.START_ROLLOUT


def test_it_goes_on_until_enough_interventions_happened_but_not_for_ever():
    world = World(episodes=1, min_interventions=1, max_episodes=3)
    for episode in range(3):
        world.run(1.0, resets=episode + 1, success=False).run(1.0, success=True)
    assert world.supervision.tally.episodes == 3 and world.supervision.done


def test_demonstrations_succeed_or_run_out_of_time():
    world = (
        World(kind="demonstration", episodes=2, patience=Patience(demonstration_s=5.0)).run(0.5).run(1.0, success=True)
    )
    world.run(7.0, success=False, resets=2)
    assert world.actions == [Trigger.START_DEMONSTRATION, Trigger.SUCCEED, Trigger.START_DEMONSTRATION, Trigger.FAIL]
