# SPDX-License-Identifier: Apache-2.0
"""One episode of the simulator to be filmed: a success, a failure or a takeover. Imported by film_strip and film_loop.

The world, the supervisor, the people and the command filter are those of a session.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np

from rove_contract import timing
from rove_contract.modes import Mode, Outcome
from rove_contract.web import palette
from rove_learning.deployment.simulation import FilterDrive
from rove_sim.episode import Episode, Tick, play_episode
from rove_sim.people.operator import CREW, EXPERT, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.people.watching import Attention
from rove_sim.portrait import SOFT, Portrait
from rove_sim.tasks import task as tasks

STORIES = ("success", "failure", "takeover")
LIMIT_S = 60.0
FAILED_S = 18.0  # a filmed rollout has failed


def colour(mode: Mode) -> tuple[int, int, int]:
    """BGR of a mode, the panel's."""
    red, green, blue = (round(255 * value) for value in palette.rgb(mode.name))
    return blue, green, red


def record_commands(task: tasks.Task, world, seed: int, stops_at: float) -> np.ndarray:
    """(T, J) rad: the expert's commands on this seed until the progress `stops_at`."""
    commands: list[np.ndarray] = []
    rng = np.random.default_rng(seed)

    def observe(tick: Tick) -> None:
        if tick.state["progress"] < stops_at:
            commands.append(tick.command)

    play_episode(
        world,
        FilterDrive(world),
        Supervision(task, "demonstration", 1, Patience(demonstration_s=LIMIT_S), rng=rng),
        seed=seed,
        start_stage=task.start_stages[0],
        operator=Operator(task, EXPERT, rng, 1.0 / timing.POLICY_HZ, world.table),
        observers=(observe,),
        cameras=(),
    )
    return np.array(commands)


def make_policy(task: tasks.Task, world, seed: int, checkpoint: str, stops_at: float):
    """(images, q) -> chunk of a checkpoint; without one a stand-in that repeats the expert's motion up to the progress
    `stops_at`, and then does nothing.
    """
    if checkpoint:
        from rove_learning.inference.checkpoint import load

        loaded, rng = load(checkpoint), np.random.default_rng(seed)
        return lambda images, q: loaded.act(images["ego"], q, task.instruction, rng=rng)
    commands, begun = record_commands(task, world, seed, stops_at), [0]

    def act(images, q):
        rows = np.minimum(begun[0] + np.arange(timing.CHUNK_STEPS), len(commands) - 1)
        begun[0] += timing.EXECUTE_STEPS
        return commands[rows]

    return act


def play(
    task: tasks.Task,
    story: str,
    seed: int,
    size: int,
    cameras: Sequence[str],
    checkpoint: str = "",
    stops_at: float = 0.45,
    wanted: Callable[[int], bool] = lambda number: True,
    lamps: int = SOFT,
) -> tuple[Episode, list[tuple[Tick, str]]]:
    """The episode, and each wanted tick with pictures of `cameras` (size px, for people) and what the person does in a
    word. wanted: whether a tick's number is drawn. lamps: of a picture, see `Portrait`. success: of the expert.
    failure: of a policy that nobody interrupts; without a checkpoint it repeats what the expert did on another seed.
    takeover: of a policy (see `make_policy`) by the most practised operator. Raises ValueError when this seed tells
    another story.
    """
    world = task.make_world()
    portrait = Portrait(world, size, lamps)
    seen: list[tuple[Tick, str]] = []
    rng = np.random.default_rng(seed + 1)
    if story == "takeover":
        supervision = Supervision(
            task, "rollout", 1, Patience(patience_s=2.0), attention=Attention(miss_rate=0.0), rng=rng
        )
        policy, person = make_policy(task, world, seed, checkpoint, stops_at), CREW[0]
    elif story == "failure":
        policy, person = make_policy(task, world, seed if checkpoint else seed + 1, checkpoint, 2.0), EXPERT
        supervision = Supervision(task, "rollout", 1, Patience(autonomous_s=FAILED_S), intervene=False, rng=rng)
    else:
        supervision = Supervision(task, "demonstration", 1, Patience(demonstration_s=LIMIT_S), rng=rng)
        policy, person = None, EXPERT
    operator = Operator(task, person, rng, 1.0 / timing.POLICY_HZ, world.table)

    def observe(tick: Tick) -> None:
        if tick.mode is not Mode.IDLE and wanted(tick.number):
            tick = replace(tick, images={name: portrait.render(camera=name) for name in cameras})
            seen.append((tick, operator.expert.phase if tick.behaviour == "work" else tick.behaviour))

    episode = play_episode(
        world,
        FilterDrive(world),
        supervision,
        seed=seed,
        start_stage=task.start_stages[0],
        policy=policy,
        operator=operator,
        observers=(observe,),
        cameras=("ego",) if checkpoint else (),
    )
    portrait.close()
    world.close()
    outcome = Outcome.FAILURE if story == "failure" else Outcome.SUCCESS
    if episode.outcome is not outcome or (story == "takeover" and episode.takeover < 0):
        told = f"{episode.outcome.name.lower()}, {'a' if episode.takeover >= 0 else 'no'} takeover"
        raise ValueError(f"seed {seed} of {task.name} tells no {story} but: {told}; choose another seed")
    return episode, seen
