# SPDX-License-Identifier: Apache-2.0
"""The only loop that plays an episode in-process: world, policy, operator, supervisor, and whoever watches.

The operator and the supervisor are the objects that play in a session over ROS; so are the command filter and the chunk
player behind `Drive`. Alignment during a pause, the takeover, the marking of recovery happen here as they do there. One
tick is one period of the policy (1 / 20 s); time is the simulation's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rove_contract import timing
from rove_contract.modes import OUTCOME_OF, SOURCE_OF, STAGE_OF, Mode, Outcome, Source, Stage, Trigger, next_mode
from rove_sim.people.supervision import Supervision, View

MAX_TICKS = round(300.0 * timing.POLICY_HZ)  # an episode that no supervisor ends within five minutes is an error


class Drive(Protocol):
    """What stands between a source of targets and the world: the chunk player and the command filter.

    command: (J,) rad, in force now.
    """

    command: np.ndarray

    def reset(self, command: np.ndarray) -> None:
        """Hold this command."""

    def load(self, chunk: np.ndarray) -> None:
        """Play this chunk (H, J) from now on; its row 0 is due one tick later."""

    def play(self) -> None:
        """One tick of the loaded chunk."""

    def follow(self, goal: np.ndarray) -> None:
        """One tick towards an operator's target (J,)."""

    def hold(self) -> None:
        """One tick of stopping and holding."""


@dataclass(frozen=True)
class Tick:
    """One frame of an episode, pauses included. q, command (J,) rad: measured before and commanded at the end of the
    tick.

    state: the world's at the beginning. behaviour: what the operator is doing, or which mistake; empty while the policy
    drives.
    """

    number: int
    mode: Mode
    q: np.ndarray
    command: np.ndarray
    state: dict
    images: dict[str, np.ndarray]
    behaviour: str = ""

    @property
    def stage(self) -> Stage:
        return STAGE_OF[self.mode]

    @property
    def source(self) -> Source:
        return SOURCE_OF[self.mode]


@dataclass
class Episode:
    """How an episode went. takeover, t_r: frame numbers without pauses, -1 = none. mistakes: of the operator, in
    words. milestone: the farthest that was reached, in the task's words.
    """

    seed: int
    start_stage: str
    outcome: Outcome = Outcome.NONE
    frames: int = 0
    takeover: int = -1
    t_r: int = -1
    reasons: list[str] = field(default_factory=list)
    mistaken: bool = False
    mistakes: list[str] = field(default_factory=list)
    milestone: str = ""
    state: dict = field(default_factory=dict)


Observer = Callable[[Tick], None]
Policy = Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]  # (images, q (J,)) -> chunk (H, J)


def measure_misalignment(pose: np.ndarray, q: np.ndarray) -> float:
    """rad, the worst joint: what /teleop/alignment says of an operator's pose (J,) against the measured joints (J,)."""
    return float(np.abs(pose - q).max())


def play_episode(
    world,
    drive: Drive,
    supervision: Supervision,
    *,
    seed: int,
    start_stage: str,
    policy: Policy | None = None,
    operator=None,
    observers: Sequence[Observer] = (),
    cameras: Sequence[str] = ("ego",),
    draw_pauses: bool = False,
    execute: int = timing.EXECUTE_STEPS,
    latency_steps: int = 0,
) -> Episode:
    """One episode from its start to the supervisor's verdict.

    policy: needed for a rollout. operator: needed where the supervisor may hand over, and for a demonstration. cameras:
    drawn for the policy and the observers at every frame, in pauses only with draw_pauses. execute: steps of a chunk
    before the next one. latency_steps: ticks between an observation and the hand-over of its chunk, whose earlier rows
    are then skipped. Raises RuntimeError when no verdict comes within five minutes of simulated time.
    """
    world.reset(seed, start_stage)
    drive.reset(np.array(world.data.ctrl))
    episode = Episode(seed, start_stage)
    mode, pending, in_mode = Mode.IDLE, None, 0
    farthest = 0
    ready = {"resets": seed, "seated": True}
    supervision.used_resets = None
    for number in range(MAX_TICKS):
        q, state = world.q.copy(), world.state()
        farthest = max(farthest, world.milestones.index(state["milestone"]))
        pose = operator.pose(mode, q, state) if operator is not None else None
        alignment = measure_misalignment(pose, q) if pose is not None and mode is Mode.PAUSED else None
        action = supervision.update(View(number / timing.POLICY_HZ, mode, state | ready, alignment))
        if action is not None:
            trigger = (
                action if isinstance(action, Trigger) else Trigger.TAKEOVER
            )  # FORCE; nobody asks for a RESET in here
            mode, before = next_mode(mode, trigger), mode
            in_mode = 0
            _note(episode, before, trigger, supervision)
            if mode is Mode.IDLE:
                break
            if pose is not None:
                pose = operator.pose(mode, q, state)
        unseen = mode is Mode.IDLE or (mode is Mode.PAUSED and not draw_pauses)
        images = {} if unseen else {name: world.render(name) for name in cameras}
        if mode is Mode.ROLLOUT:
            if in_mode % execute == 0:
                pending = (in_mode + latency_steps, policy(images, q)[latency_steps:])
            if pending is not None and in_mode >= pending[0]:
                drive.load(pending[1])
                pending = None
            drive.play()
        elif mode in (Mode.PAUSED, Mode.IDLE):
            pending = None
            drive.hold()
        else:
            drive.follow(pose)
        in_mode += 1
        behaviour = operator.doing if operator is not None and mode in SOURCE_OF and mode is not Mode.ROLLOUT else ""
        tick = Tick(number, mode, q, np.array(drive.command), state, images, behaviour)
        for observe in observers:
            observe(tick)
        episode.frames += mode in STAGE_OF
    else:
        raise RuntimeError(f"episode {seed} of {world.name} has no verdict after {MAX_TICKS / timing.POLICY_HZ:g} s")
    episode.state = world.state()
    episode.milestone = world.milestones[farthest]
    episode.mistaken = supervision.mistaken
    episode.mistakes = list(operator.mistakes) if operator is not None else []
    return episode


def _note(episode: Episode, before: Mode, trigger: Trigger, supervision: Supervision) -> None:
    if trigger in OUTCOME_OF:
        episode.outcome = OUTCOME_OF[trigger]
        episode.reasons.append(supervision.reason)
    elif trigger is Trigger.PAUSE:
        episode.reasons.append(supervision.reason)
    elif trigger is Trigger.TAKEOVER and episode.takeover < 0:
        episode.takeover = episode.frames
    elif trigger is Trigger.RECOVERED and episode.t_r < 0:
        episode.t_r = episode.frames
