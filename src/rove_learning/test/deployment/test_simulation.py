# SPDX-License-Identifier: Apache-2.0
"""One loop plays every episode: policy, operator and supervisor of a session, the real command filter, the real chunk
player; demonstrations, interventions, evaluations and human videos come from it.
"""

import numpy as np
import pytest

from rove_contract import timing
from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import mjcf
from rove_learning.deployment.collect import CollectConfig
from rove_learning.deployment.collect import make_worker as make_demonstrator
from rove_learning.deployment.human_videos import VideoConfig
from rove_learning.deployment.human_videos import make_worker as make_film
from rove_learning.deployment.simulation import FilterDrive, FrameRecorder, play_seeds
from rove_sim.episode import play_episode
from rove_sim.people.operator import CREW, EXPERT, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.people.watching import Attention
from rove_sim.tasks import task as tasks

TASK = tasks.TOAST_BREAD
PROMPT = Attention(reaction_s=0.1, spread=0.0, miss_rate=0.0, false_alarm_hz=0.0)


@pytest.fixture(scope="module")
def world():
    world = TASK.make_world(32)
    yield world
    world.close()


def stand_still(images, q):
    return np.tile(q, (timing.CHUNK_STEPS, 1))


def intervene(world, person, observers=(), seed=3, stage="above_slot"):
    rng = np.random.default_rng(seed)
    return play_episode(
        world,
        FilterDrive(world),
        Supervision(TASK, "rollout", 1, Patience(patience_s=1.0), attention=PROMPT, rng=rng),
        seed=seed,
        start_stage=stage,
        policy=stand_still,
        operator=Operator(TASK, person, rng, 1 / 20, world.table),
        observers=observers,
    )


def test_an_intervention_has_rollout_pause_adaptation_and_recovery(world):
    recorder, modes = FrameRecorder(), []
    episode = intervene(world, EXPERT, (recorder, lambda tick: modes.append(tick.mode)))
    assert episode.outcome is Outcome.SUCCESS and episode.reasons == ["no progress for 1 s", "the task is done"]
    order = [mode for i, mode in enumerate(modes) if i == 0 or mode is not modes[i - 1]]
    assert order == [Mode.IDLE, Mode.ROLLOUT, Mode.PAUSED, Mode.ADAPTATION, Mode.RECOVERY] or order == [
        Mode.ROLLOUT,
        Mode.PAUSED,
        Mode.ADAPTATION,
        Mode.RECOVERY,
    ]
    frames = recorder.frames(episode)
    stage = frames["stage"]
    assert len(stage) == episode.frames and Mode.PAUSED not in frames["mode"]
    assert episode.takeover == np.flatnonzero(stage == Stage.ADAPTATION)[0]
    assert episode.t_r == np.flatnonzero(stage == Stage.RECOVERY)[0]
    assert set(frames["source"][: episode.takeover]) == {Source.POLICY}
    assert set(frames["source"][episode.takeover :]) == {Source.OPERATOR}


def test_no_command_of_an_intervention_breaks_a_limit(world):
    commands = []
    intervene(world, CREW[-1], (lambda tick: commands.append(tick.command),), seed=5)
    speed = np.abs(np.diff(commands, axis=0)) * timing.POLICY_HZ
    limits = world.table.limits
    assert (speed <= limits.velocity * (1 + 1e-6)).all()
    assert (np.array(commands) >= limits.lower).all() and (np.array(commands) <= limits.upper).all()


def test_the_same_seed_plays_the_same_episode(world):
    runs = []
    for _ in range(2):
        recorder = FrameRecorder()
        episode = intervene(world, CREW[1], (recorder,), seed=7)
        runs.append((episode, recorder.frames(episode)))
    assert runs[0][0] == runs[1][0]
    for name in ("state", "action", "stage", "images"):
        np.testing.assert_array_equal(runs[0][1][name], runs[1][1][name])


def test_a_policy_that_nobody_watches_fails_when_its_time_is_up(world):
    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(TASK, "rollout", 1, Patience(autonomous_s=2.0), intervene=False),
        seed=1,
        start_stage="start",
        policy=stand_still,
        cameras=(),
    )
    assert episode.outcome is Outcome.FAILURE and episode.takeover == -1
    assert 2.0 <= episode.frames / timing.POLICY_HZ < 2.2


def test_chunks_are_replanned_after_the_executed_steps_and_late_ones_lose_their_first_rows(world):
    asked, chunks = [], []

    def policy(images, q):
        asked.append(world.time)
        chunk = np.tile(q, (timing.CHUNK_STEPS, 1)) + 1e-3 * np.arange(timing.CHUNK_STEPS)[:, None]
        chunks.append(chunk)
        return chunk

    loaded = []
    drive = FilterDrive(world)
    load = drive.load
    drive.load = lambda chunk: (loaded.append(chunk), load(chunk))
    play_episode(
        world,
        drive,
        Supervision(TASK, "rollout", 1, Patience(autonomous_s=2.5), intervene=False),
        seed=1,
        start_stage="start",
        policy=policy,
        cameras=(),
        latency_steps=3,
    )
    np.testing.assert_allclose(np.diff(asked), timing.EXECUTE_STEPS / timing.POLICY_HZ, atol=1e-6)
    np.testing.assert_array_equal(loaded[0], chunks[0][3:])


def test_actions_of_a_recording_played_as_a_chunk_repeat_its_commands(world):
    """Policy, simulator and recording agree: row i of a chunk is the action of frame i, due one tick after it."""
    drive, home, elbow = FilterDrive(world), mjcf.home(world.table), world.table.index["left_elbow"]
    world.reset(3)
    drive.reset(home)
    actions = []
    for i in range(30):
        goal = np.array(home)
        goal[elbow] += 0.2 * (1 - np.cos((i + 1) / 10))
        drive.follow(goal)
        actions.append(np.array(drive.command))
    world.reset(3)
    drive.reset(home)
    drive.load(np.array(actions))
    for action in actions[:28]:
        drive.play()
        assert abs(drive.command[elbow] - action[elbow]) < 0.01


def test_demonstrations_come_from_people_in_turn_and_from_every_start_stage():
    config = CollectConfig("unused", task=TASK.name, image_size=32, seed=100)
    demonstrate = make_demonstrator(config)
    rows = [demonstrate(seed)["frames"] for seed in (100, 108)]
    assert [row["operator"] for row in rows] == [CREW[0].name] * 2
    assert [row["start_stage"] for row in rows] == ["start", "above_slot"]
    for row in rows:
        assert set(row["stage"]) == {Stage.DEMONSTRATION} and len(row["state"]) == len(row["images"])


def test_human_videos_show_another_body_without_state_and_action():
    film = make_film(VideoConfig("unused", task=TASK.name, image_size=32, seed=0, start_stages=("above_slot",)))
    success, failure = film(0), film(1)
    assert success["outcome"] == Outcome.SUCCESS and failure["outcome"] == Outcome.FAILURE
    assert success["state"] is None and set(success["stage"]) == {Stage.HUMAN_VIDEO}
    robot = TASK.make_world(32)
    robot.reset(0, "above_slot")
    assert np.abs(robot.render().astype(int) - success["images"][0]).mean() > 2.0
    robot.close()


def double(factor):
    return lambda seed: {"seed": seed, "value": factor * seed}


def test_seeds_are_played_in_their_order_on_several_processes():
    assert [row["value"] for row in play_seeds(double, 3, range(4), 2)] == [0, 3, 6, 9]
