# SPDX-License-Identifier: Apache-2.0
"""One seed played two ways, in-process and as a session over ROS: the same people, stages, actions and outcome.

Both ways the same objects decide, with the same draws, on what they see; but over ROS they see and act later. How much
the two may differ follows from that:

DELAY_S     state of the robot 10 ms and of the world 50 ms old, the suit's frame 50 ms, retargeting and transport 10
            ms, the operator's track 70 ms, a control period 10 ms: 0.2 s, and 0.05 s for the exported tick. A person
            who sees a motion of speed v so much later asks for a pose that is v DELAY_S away, and enters each phase of
            the work so much later.
APART_RAD   how far apart the two paths may be otherwise. What the person takes wrongly wanders on meanwhile: the suit
            by 3.2 mrad, the place of things by 2.9 mm, which is 6 mrad at arm's length; three deviations of each way
            are 0.05 rad. The swivel of the elbow, which no hand's pose tells, is followed to another 0.05 rad.
"""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from rove_bringup import bag_audit, demo_report, packages
from rove_contract import timing
from rove_contract.modes import Outcome, Stage
from rove_description import joints, mjcf
from rove_learning.deployment.simulation import FilterDrive, FrameRecorder
from rove_recorder.export.episode_bag import EpisodeBag
from rove_sim.episode import play_episode
from rove_sim.people.operator import CREW, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]
SEED = 2  # operator 1 hesitates and draws back; who continues goes where the last tremble points, never the same way
TASK = tasks.TOAST_BREAD
TABLE = joints.load()
TICK_S = 1.0 / timing.POLICY_HZ
BODY = np.flatnonzero(np.array(TABLE.blocks) != "hand")
STAGES = (Stage.ROLLOUT, Stage.ADAPTATION, Stage.RECOVERY)
DELAY_S, APART_RAD = 0.25, 0.10
START_RAD = 0.01  # the robot has settled for some ticks of one way and none of the other


def play_in_process():
    """The episode, its frames (see FrameRecorder), and how many phases the work had."""
    world, recorder = TASK.make_world(32), FrameRecorder()
    home = mjcf.home(TABLE)
    given = yaml.safe_load((packages.share("rove_bringup") / "params/scripted_supervisor.yaml").read_text())
    given = given["/**"]["ros__parameters"]
    patience = Patience(patience_s=given["patience_s"], intervention_s=given["intervention_s"])
    operator = Operator(TASK, CREW[0], np.random.default_rng(SEED), TICK_S, TABLE)
    phases = set()
    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(TASK, "rollout", 1, patience, rng=np.random.default_rng(SEED)),
        seed=SEED,
        start_stage="start",
        policy=lambda images, q: np.tile(home, (timing.CHUNK_STEPS, 1)),
        operator=operator,
        observers=(recorder, lambda tick: phases.add(operator.expert.phase)),
    )
    world.close()
    return episode, recorder.frames(episode), len(phases)


def record_session(rove_launch, checkpoint, tmp_path) -> Path:
    """The bag of the session's only episode."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    words = {"task": TASK.name, "seed": SEED, "device": "zmq", "endpoint": endpoint, "episodes": 1, "panel_port": 0}
    words |= {"bags": tmp_path / "bags", "checkpoint": checkpoint}
    runner = rove_launch("session.launch.yaml", *(f"{key}:={value}" for key, value in words.items()), cwd=tmp_path)
    options = {"task": TASK.name, "seed": SEED, "endpoint": endpoint, "rate_hz": timing.POLICY_HZ}
    arguments = [word for key, value in options.items() for word in ("-p", f"{key}:={value}")]
    person = subprocess.Popen([sys.executable, "-m", "rove_sim.scripted_operator_node", "--ros-args", *arguments])
    try:
        runner.wait_for('"complete": true', timeout_s=150.0)
        assert runner.end() == 0, runner.output
    finally:
        person.terminate()
        assert person.wait(10.0) == 0
    [bag] = [path for path in (tmp_path / "bags").iterdir() if path.is_dir()]
    return bag


def align(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int]]:
    """(T, J), (U, J) -> pairs of rows along which both go the same way, each in its own time (dynamic time warping)."""
    cost = np.abs(a[:, None] - b[None]).max(axis=-1)
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            total[i, j] = cost[i - 1, j - 1] + min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
    i, j, pairs = len(a), len(b), []
    while i and j:
        pairs.append((i - 1, j - 1))
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(steps, key=lambda step: total[step])
    return pairs[::-1]


def lengths(stages: np.ndarray) -> list[tuple[Stage, int]]:
    """Stages in their order, with their frames."""
    begins = [0, *np.flatnonzero(np.diff(stages)) + 1, len(stages)]
    return [(Stage(stages[begin]), int(end - begin)) for begin, end in zip(begins, begins[1:])]


def test_a_seed_played_in_process_and_over_ros_has_the_same_stages_actions_and_outcome(
    rove_launch, own_domain, motionless_policy, tmp_path
):
    """The session is also what a whole one has to be: paused, taken over without a jolt, recorded without a loss."""
    episode, alone, phases = play_in_process()
    bag = record_session(rove_launch, motionless_policy, tmp_path)
    found, session = bag_audit.audit(bag), EpisodeBag(bag).frames(TABLE, round(timing.POLICY_HZ))[0]
    assert found.missing == () and demo_report.dropped_messages(bag) == 0
    assert found.velocity_ratio <= 1.0 + 1e-6, found.worst_joint

    assert (episode.outcome, session.outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)
    assert episode.milestone == session.milestone == TASK.milestones[-1]
    np.testing.assert_allclose(session.state[0], alone["state"][0], atol=START_RAD)

    ours, others = lengths(alone["stage"]), lengths(session.stage)
    assert [stage for stage, _ in ours] == [stage for stage, _ in others] == list(STAGES)
    for (stage, here), (_, there) in zip(ours, others):
        switches = phases if stage is Stage.RECOVERY else 1
        assert abs(here - there) / timing.POLICY_HZ <= DELAY_S * (1 + switches), (stage, here, there)

    human = [frames != Stage.ROLLOUT for frames in (alone["stage"], session.stage)]
    a, b = alone["action"][human[0]][:, BODY], session.action[human[1]][:, BODY]
    speed = np.abs(np.gradient(a, axis=0)) * timing.POLICY_HZ
    reach = round(DELAY_S * timing.POLICY_HZ)
    for i, j in align(a, b):
        fastest = speed[max(0, i - reach) : i + reach + 1].max()
        assert np.abs(a[i] - b[j]).max() <= APART_RAD + DELAY_S * fastest, (i, j)
