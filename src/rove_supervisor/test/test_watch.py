# SPDX-License-Identifier: Apache-2.0
"""What the supervisor sees: staleness, alignment, recorder, warnings, session numbers, advice; times are made up,
nothing waits.
"""

import math
import re

import pytest
import yaml

from rove_contract.episode import Episode
from rove_contract.modes import Mode, Outcome
from rove_supervisor.advice import Advisor
from rove_supervisor.panel.log import SessionLog, collected_before
from rove_supervisor.watch import Alignment, Report, Watch

BLOCKS = ("head", "waist", "arm", "hand")

GOOD = {"head": "0.1", "waist": "0.1", "arm": "0.2", "hand": "0.3", "worst_joint": "left_index_splay", "age_s": "0.01"}


def test_an_aligned_operator_may_take_over():
    assert Alignment.read(0, "", GOOD, 10.0).refusal(10.1, 0.35, BLOCKS) == ""


@pytest.mark.parametrize(
    "level, values, later, words",
    [
        (0, GOOD | {"arm": "0.5", "worst_joint": "left_elbow"}, 0.0, r"left_elbow \(arm\) is 0.50 rad off"),
        (0, GOOD | {"arm": "nan"}, 0.0, "inf rad off"),
        (0, GOOD | {"arm": "much"}, 0.0, "inf rad off"),
        (0, {}, 0.0, "no block is known"),
        (0, GOOD | {"end_effector": "2.5"}, 0.0, r"other joints than the robot's.*differ in end_effector"),
        (0, {key: value for key, value in GOOD.items() if key != "hand"}, 0.0, "differ in hand"),
        (3, GOOD, 0.0, "stale: no operator input"),
        (0, GOOD, 2.0, "no alignment for 2.0 s"),
    ],
)
def test_takeover_is_refused_with_the_reason(level, values, later, words):
    alignment = Alignment.read(level, "no operator input", values, 10.0)
    assert re.search(words, alignment.refusal(10.0 + later, 0.35, BLOCKS))


def test_a_robot_without_a_waist_is_aligned_without_one():
    values = {key: value for key, value in GOOD.items() if key != "waist"}
    assert Alignment.read(0, "", values, 10.0).refusal(10.1, 0.35, ("head", "arm", "hand")) == ""


def test_an_operator_who_was_never_seen_cannot_take_over():
    assert "no operator" in Alignment().refusal(10.0, 0.35, BLOCKS)


def test_a_start_needs_a_robot_that_reports():
    watch = Watch(0.35, False, BLOCKS)
    assert "no robot" in watch.robot_refusal(1.0)
    watch.robot.mark(1.0)
    assert watch.robot_refusal(1.1) == ""
    assert "1.0 s ago" in watch.robot_refusal(2.0)


def test_a_start_needs_a_camera_that_sends_pictures():
    watch = Watch(0.35, False, BLOCKS)
    assert "nothing has come on /ego_camera" in watch.conditions(1.0).camera
    watch.cameras["ego"].mark(1.0)
    assert watch.conditions(1.9).camera == ""
    assert "last picture 1.5 s ago" in watch.conditions(2.5).camera
    assert Watch(0.35, False, BLOCKS, needs_camera=False).conditions(1.0).camera == ""


def test_a_recorded_start_needs_a_ready_recorder():
    watch = Watch(0.35, True, BLOCKS)
    assert "no recorder" in watch.recorder_refusal(0.0)
    watch.recorder = Report(1, "the disk is full", {"ready": "false"}, 0.0)
    assert "the disk is full" in watch.recorder_refusal(0.5)
    watch.recorder = Report(0, "ready", {"ready": "true"}, 0.0)
    assert watch.recorder_refusal(0.5) == ""
    assert "silent" in watch.recorder_refusal(9.0)
    assert Watch(0.35, False, BLOCKS).recorder_refusal(0.0) == ""


def test_a_rollout_needs_a_policy_that_publishes_and_is_ready():
    watch = Watch(0.35, False, BLOCKS)
    assert "nobody publishes /policy/action_chunk" in watch.policy_refusal(0.0)
    watch.policies = 1
    assert watch.policy_refusal(0.0) == "", "a policy of another make need not report"
    watch.reports["policy"] = Report(1, "loading the weights", {"ready": "false"}, 0.0)
    assert watch.policy_refusal(0.5) == "the policy is not ready: loading the weights"
    watch.reports["policy"] = Report(0, "ready", {"ready": "true"}, 0.0)
    assert watch.policy_refusal(0.5) == ""
    assert "silent" in watch.policy_refusal(9.0)


def test_warnings_name_what_warns_and_what_went_silent_worst_first():
    watch = Watch(0.35, False, BLOCKS)
    seen = {"a": (1, "slow", 10.0), "b": (2, "broken", 10.0), "c": (0, "fine", 10.0), "d": (0, "", 1.0)}
    watch.reports = {who: Report(level, text, {}, arrived) for who, (level, text, arrived) in seen.items()}
    rows = [(row["who"], row["text"]) for row in watch.warnings(10.5)]
    assert rows == [("b", "broken"), ("d", "has not reported for 10 s"), ("a", "slow")]


def episode(log, outcome, plan, kind="rollout"):
    """plan: [(mode, s), …]"""
    now, previous = 100.0 * (len(log.rows) + 1), Mode.IDLE
    for mode, seconds in plan:
        log.transition(previous, mode, now)
        previous, now = mode, now + seconds
    log.transition(previous, Mode.IDLE, now)
    log.ended(Episode(f"e{len(log.rows)}", "t", kind=kind, outcome=outcome))


def test_intervention_fraction_counts_rollouts_with_a_takeover_without_their_pauses():
    log = SessionLog()
    episode(
        log, Outcome.SUCCESS, [(Mode.ROLLOUT, 6.0), (Mode.PAUSED, 50.0), (Mode.ADAPTATION, 1.0), (Mode.RECOVERY, 3.0)]
    )
    episode(log, Outcome.FAILURE, [(Mode.ROLLOUT, 10.0)])
    episode(log, Outcome.ABORTED, [(Mode.ROLLOUT, 99.0)])
    episode(log, Outcome.SUCCESS, [(Mode.DEMONSTRATION, 9.0)], kind="demonstration")
    numbers = log.numbers()
    assert numbers["intervention_fraction"] == pytest.approx(4.0 / 10.0)
    assert (numbers["success_rate"], numbers["autonomous_rate"]) == (0.5, 0.0)
    assert (numbers["episodes"], numbers["rollouts"], numbers["aborted"], numbers["demonstrations"]) == (4, 2, 1, 1)


def test_the_timeline_has_no_gaps():
    log = SessionLog()
    episode(log, Outcome.SUCCESS, [(Mode.ROLLOUT, 2.0), (Mode.PAUSED, 1.0), (Mode.ADAPTATION, 3.0)])
    assert [(s.mode, s.begin, s.end) for s in log.timeline] == [
        (Mode.ROLLOUT, 0, 2),
        (Mode.PAUSED, 2, 3),
        (Mode.ADAPTATION, 3, 6),
    ]
    assert log.elapsed(1e9) == 6.0


def test_the_least_collected_stage_is_proposed():
    log = SessionLog()
    log.ended(Episode("a", "t", start_stage="start", outcome=Outcome.SUCCESS))
    assert log.least_collected(("start", "grasped")) == "grasped"


def test_episodes_of_earlier_sessions_count_as_collected(tmp_path):
    bags = [
        ("t", "start", "success"),
        ("t", "start", "failure"),
        ("t", "grasped", "aborted"),
        ("u", "grasped", "success"),
    ]
    for i, (task, stage, outcome) in enumerate(bags):
        (tmp_path / f"bag{i}").mkdir()
        custom = {"custom_data": {"task": task, "start_stage": stage, "outcome": outcome}}
        (tmp_path / f"bag{i}" / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": custom}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    log = SessionLog(before=collected_before(tmp_path, "t"))
    assert log.collected() == {"start": 2} and log.least_collected(("start", "grasped")) == "grasped"
    assert collected_before(tmp_path / "none", "t") == {}


def advice(values, dt=0.5):
    advisor = Advisor()
    for i, value in enumerate(values):
        advisor.add(i * dt, value)
    return advisor.text(dt * (len(values) - 1))


def test_advice_when_the_value_stays_low_or_falls_and_not_otherwise():
    assert "below" in advice([-0.2] * 4 + [-0.7] * 6)
    assert "falling" in advice([-0.1 - 0.04 * i for i in range(10)])
    assert advice([-0.3, -0.32, -0.29, -0.31] * 3) == ""
    assert advice([-0.2, -0.2, -0.9, -0.2, -0.2, -0.2]) == "", "one outlier is no reason"
    assert advice([-0.5 + 0.03 * i for i in range(10)]) == ""
    assert advice([-0.9] * 10)
    resumed = Advisor()
    for i in range(10):
        resumed.add(0.5 * i, -0.9)
    resumed.begin(4.5)
    assert resumed.text(4.5) == "", "what was before a takeover is no reason to pause again"
    assert advice([math.nan] * 5) == "" and advice([]) == ""
