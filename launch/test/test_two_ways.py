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

A busy machine delays each link of that chain further; by how much, the longest gap of each stream in the bag says.

Both hold until the slice is lifted. From there on contact decides: a slice that meets the slot's rim a millimetre
further out is drawn back and tried again, which takes one way 4 s longer. Of the rest the outcome is compared.
"""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from rove_bringup import bag_audit, demo_report, packages
from rove_contract import timing, topics
from rove_contract.modes import Mode, Outcome, Stage
from rove_description import joints, mjcf
from rove_learning.deployment.simulation import FilterDrive, FrameRecorder
from rove_recorder.export.episode_bag import EpisodeBag
from rove_sim.episode import play_episode
from rove_sim.people.operator import CREW, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks
from rove_sim.tasks.toast_bread.world import AT_LIFT

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]
SEED = 2  # operator 1 hesitates and draws back; who continues goes where the last tremble points, never the same way
TASK = tasks.TOAST_BREAD
TABLE = joints.load()
TICK_S = 1.0 / timing.POLICY_HZ
BODY = np.flatnonzero(np.array(TABLE.blocks) != "hand")
STAGES = (Stage.ROLLOUT, Stage.ADAPTATION, Stage.RECOVERY)
DELAY_S, APART_RAD = 0.25, 0.10
LINKS = (topics.JOINT_STATES, topics.SIM_STATE, topics.TELEOP_TARGETS, topics.JOINT_COMMAND)
START_RAD = 0.01  # the robot has settled for some ticks of one way and none of the other


def play_in_process():
    """The episode, its frames (see FrameRecorder), and of each of them the phase of the work and the progress."""
    world, recorder = TASK.make_world(32), FrameRecorder()
    home = mjcf.home(TABLE)
    given = yaml.safe_load((packages.share("rove_bringup") / "params/scripted_supervisor.yaml").read_text())
    given = given["/**"]["ros__parameters"]
    patience = Patience(patience_s=given["patience_s"], intervention_s=given["intervention_s"])
    operator = Operator(TASK, CREW[0], np.random.default_rng(SEED), TICK_S, TABLE)
    work = []

    def watch(tick):
        if tick.mode not in (Mode.IDLE, Mode.PAUSED):
            work.append((operator.expert.phase, tick.state["progress"]))

    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(TASK, "rollout", 1, patience, rng=np.random.default_rng(SEED)),
        seed=SEED,
        start_stage="start",
        policy=lambda images, q: np.tile(home, (timing.CHUNK_STEPS, 1)),
        operator=operator,
        observers=(recorder, watch),
    )
    world.close()
    return episode, recorder.frames(episode), work


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


def measure_busy(bag: Path) -> float:
    """s, how much longer than usual the links together took at worst: their longest gaps beyond the usual period."""
    stamps = {link.name: [] for link in LINKS}
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, stamp, _ in reader.messages([c for c in reader.connections if c.topic in stamps]):
            stamps[connection.topic].append(stamp)
    gaps = [np.diff(times) / 1e9 for times in stamps.values()]
    return float(sum(gap.max() - np.median(gap) for gap in gaps))


def align(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int]]:
    """(T, J), (U, J) -> pairs of rows along which all of `a` and the beginning of `b` go the same way, each in its own
    time (dynamic time warping with an open end)."""
    cost = np.abs(a[:, None] - b[None]).max(axis=-1)
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            total[i, j] = cost[i - 1, j - 1] + min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
    i, j, pairs = len(a), int(np.argmin(total[-1])), []
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
    episode, alone, work = play_in_process()
    bag = record_session(rove_launch, motionless_policy, tmp_path)
    delay_s = DELAY_S + measure_busy(bag)
    found, session = bag_audit.audit(bag), EpisodeBag(bag).frames(TABLE, round(timing.POLICY_HZ))[0]
    assert found.missing == () and demo_report.dropped_messages(bag) == 0
    assert found.velocity_ratio <= 1.0 + 1e-6, found.worst_joint

    assert (episode.outcome, session.outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)
    assert episode.milestone == session.milestone == TASK.milestones[-1]
    np.testing.assert_allclose(session.state[0], alone["state"][0], atol=START_RAD)

    ours, others = lengths(alone["stage"]), lengths(session.stage)
    assert [stage for stage, _ in ours] == [stage for stage, _ in others] == list(STAGES)
    for (stage, here), (_, there) in zip(ours[:-1], others[:-1]):
        assert abs(here - there) / timing.POLICY_HZ <= delay_s * 2, (stage, here, there)

    takeover = ours[0][1]
    lifted = next(i for i, (_, progress) in enumerate(work) if progress >= AT_LIFT)
    phases = {phase for phase, _ in work[takeover:lifted]}
    a = alone["action"][takeover:lifted][:, BODY]
    b = session.action[others[0][1] :][:, BODY]
    pairs = align(a, b)
    late = abs(pairs[-1][1] - pairs[-1][0]) / timing.POLICY_HZ
    assert late <= delay_s * (2 + len(phases)), (late, phases)
    speed = np.abs(np.gradient(a, axis=0)) * timing.POLICY_HZ
    reach = round(delay_s * timing.POLICY_HZ)
    for i, j in pairs:
        fastest = speed[max(0, i - reach) : i + reach + 1].max()
        assert np.abs(a[i] - b[j]).max() <= APART_RAD + delay_s * fastest, (i, j)
