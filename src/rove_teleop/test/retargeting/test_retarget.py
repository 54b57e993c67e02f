# SPDX-License-Identifier: Apache-2.0
"""Retargeting: exact where the operator is reachable, within limits for anything, continuous, and each part on its
own.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation, Slerp

from rove_contract.operator_frame import PARTS, OperatorFrame
from rove_description import joints, mjcf
from rove_teleop.retargeting.intake import LIMITED, LOST, NOT_FINITE, OK, OUTLIER, WRONG
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.retargeting.robot_geometry import RobotSkeleton

TABLE = joints.load()
LOWER, UPPER = TABLE.limits.lower, TABLE.limits.upper
SKELETON = RobotSkeleton(TABLE)
HOME = mjcf.home(TABLE)
TIPS = [4, 8, 12, 16, 20]


def plain(mode="absolute", **options):
    return Retargeter(TABLE, mode=mode, smoothing=False, velocity_limited=False, **options)


def poses(n, seed=0, share=0.9):
    """Random poses inside the limits, `share` of the range."""
    rng = np.random.default_rng(seed)
    middle, half = (UPPER + LOWER) / 2, (UPPER - LOWER) / 2
    return middle + share * half * rng.uniform(-1, 1, size=(n, 50))


def rotation_error(a, b):
    """Angle between two quaternions, rad."""
    return 2 * np.arccos(min(1.0, abs(float(a @ b)) / np.linalg.norm(a) / np.linalg.norm(b)))


def with_parts(frame, **parts):
    kept = {name: value for name, value in (frame.parts | parts).items() if value is not None}
    return OperatorFrame(kept, frame.seq, frame.t, frame.source)


@pytest.mark.parametrize("mode", ["absolute", "relative"])
@pytest.mark.parametrize("smoothing", [False, True])
def test_an_operator_in_the_robots_pose_gives_the_robots_pose(mode, smoothing):
    retargeter = Retargeter(TABLE, mode=mode, smoothing=smoothing)
    for q in [HOME, np.clip(np.zeros(50), LOWER, UPPER), *poses(60, share=1.0)]:
        retargeter.reset(q)
        np.testing.assert_allclose(retargeter.retarget(SKELETON.frame(q)), q, atol=1e-5)


def test_reachable_frames_are_met_to_half_a_millimetre():
    """From a seed elsewhere: wrists, elbows, head, chest and fingertips of the output are the operator's."""
    retargeter = plain()
    for q in poses(150, seed=1):
        retargeter.reset(HOME)
        wanted, got = SKELETON.parts(q), SKELETON.parts(retargeter.retarget(SKELETON.frame(q)))
        for side in ("left", "right"):
            assert np.linalg.norm(wanted[f"{side}_wrist"][:3] - got[f"{side}_wrist"][:3]) < 5e-4
            assert rotation_error(wanted[f"{side}_wrist"][3:], got[f"{side}_wrist"][3:]) < 5e-3
            tips = wanted[f"{side}_hand"][TIPS] - got[f"{side}_hand"][TIPS]
            assert np.linalg.norm(tips, axis=1).max() < 5e-4
        assert rotation_error(wanted["head"][3:], got["head"][3:]) < 1e-3
        assert rotation_error(wanted["chest"][3:], got["chest"][3:]) < 1e-3


number = st.floats(-3, 3) | st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_output_is_finite_and_within_limits_for_any_input(data):
    retargeter = Retargeter(TABLE, mode=data.draw(st.sampled_from(["absolute", "relative"])))
    for k in range(data.draw(st.integers(1, 4))):
        names = data.draw(st.sets(st.sampled_from(list(PARTS))))
        parts = {name: data.draw(hnp.arrays(np.float64, PARTS[name], elements=number, fill=number)) for name in names}
        q = retargeter.retarget(OperatorFrame(parts, k, data.draw(number)))
        assert np.isfinite(q).all() and (q >= LOWER).all() and (q <= UPPER).all()


def test_output_is_within_limits_for_a_wild_operator():
    rng = np.random.default_rng(5)
    retargeter = plain()
    for k in range(400):
        parts = {name: rng.normal(scale=0.6, size=shape) for name, shape in PARTS.items()}
        q = retargeter.retarget(OperatorFrame(parts, k, 10.0 * k))
        assert np.isfinite(q).all() and (q >= LOWER).all() and (q <= UPPER).all()


def test_degenerate_frames_do_not_break_it():
    retargeter = plain()
    shoulder = np.array([0.0, 0.23, 0.48])
    zeros = {name: np.zeros(shape) for name, shape in PARTS.items()}
    for parts in (
        zeros,
        zeros | {"left_wrist": np.array([*shoulder, 1, 0, 0, 0]), "left_elbow": shoulder},  # wrist in the shoulder
        zeros
        | {
            "left_wrist": np.array([0, 0.23, -0.05, 1, 0, 0, 0]),
            "left_elbow": np.array([0, 0.23, 0.2]),
        },  # straight arm
        {"left_hand": np.ones((21, 3))},
    ):
        assert np.isfinite(retargeter.retarget(OperatorFrame(parts))).all()


def test_no_joint_moves_faster_than_its_limit_between_frames():
    retargeter = Retargeter(TABLE)
    retargeter.reset(HOME)
    before, rate = HOME, 60.0
    for k, q in enumerate(np.repeat(poses(12, seed=3), 15, axis=0)):
        out = retargeter.retarget(SKELETON.frame(q, k, k / rate))
        assert (np.abs(out - before) <= TABLE.limits.velocity / rate + 1e-9).all()
        before = out


def test_the_first_output_after_a_reset_is_near_the_robot_even_when_the_operator_is_not():
    retargeter = Retargeter(TABLE)
    retargeter.reset(HOME)
    out = retargeter.retarget(SKELETON.frame(poses(1, seed=8)[0]))
    assert (np.abs(out - HOME) <= TABLE.limits.velocity / 60 + 1e-9).all()
    assert np.abs(retargeter.solution - HOME).max() > 0.3  # the alignment figure still tells the truth


def test_smooth_motion_across_the_workspace_has_no_elbow_flip():
    """Sines of all arm joints over 80 % of their ranges, 40 s: the raw solution follows within the velocity limits."""
    retargeter = plain()
    rng = np.random.default_rng(2)
    arm = np.flatnonzero(np.array(TABLE.blocks) == "arm")
    middle, half = ((UPPER + LOWER) / 2)[arm], ((UPPER - LOWER) / 2)[arm]
    frequency, phase = rng.uniform(0.03, 0.12, len(arm)), rng.uniform(0, 2 * np.pi, len(arm))
    q, before = HOME.copy(), None
    retargeter.reset(q)
    for k in range(2400):
        q[arm] = middle + 0.8 * half * np.sin(2 * np.pi * frequency * k / 60 + phase)
        out = retargeter.retarget(SKELETON.frame(q, k, k / 60))
        if before is not None:
            excess = np.abs(out - before) * 60 - TABLE.limits.velocity
            assert excess.max() <= 0, TABLE.names[excess.argmax()]
        before = out


ELBOWS = ("no elbow", "the elbow hangs", "the elbow is the robot's")


def follow_a_line(seed, kind, share):
    """A straight line of the left wrist between two random postures within `share` of all ranges around home, at most
    0.5 m/s and 2 rad/s.

    Per frame (largest change of the arm's solution in velocity limits, elbow's speed in m/s, distance of the wrist from
    the line in m).
    """
    rng = np.random.default_rng(seed)
    retargeter = Retargeter(TABLE, smoothing=False)
    arm, velocity = retargeter.arm_index["left"], TABLE.limits.velocity
    half = share * (UPPER - LOWER)[arm] / 2
    centre = np.clip(HOME[arm], LOWER[arm] + half, UPPER[arm] - half)
    ends = np.tile(HOME, (2, 1))
    ends[:, arm] = centre + half * rng.uniform(-1, 1, size=(2, 7))
    a, b = SKELETON.parts(ends[0]), SKELETON.parts(ends[1])
    distance = np.linalg.norm(a["left_wrist"][:3] - b["left_wrist"][:3])
    n = int(max(120 * distance, 30 * np.abs(ends[1] - ends[0]).max(), 10))
    rotations = Slerp([0.0, 1.0], Rotation.from_quat([a["left_wrist"][3:], b["left_wrist"][3:]], scalar_first=True))
    retargeter.reset(ends[0])
    before = elbow = None
    for k in range(n + 1):
        t = k / n
        position = (1 - t) * a["left_wrist"][:3] + t * b["left_wrist"][:3]
        pose = np.append(position, rotations(t).as_quat(scalar_first=True))
        parts = {"left_wrist": pose}
        if kind == "the elbow hangs":
            parts["left_elbow"] = (np.array([0.0, 0.23, 0.48]) + pose[:3]) / 2 - [0.05, -0.05, 0.15]
        elif kind == "the elbow is the robot's":
            parts["left_elbow"] = SKELETON.parts(ends[0] + t * (ends[1] - ends[0]))["left_elbow"]
        retargeter.retarget(OperatorFrame(parts, k, k / 60))
        solution, got = retargeter.solution.copy(), SKELETON.parts(retargeter.solution)
        if k:
            change = (np.abs(solution - before)[arm] * 60 / velocity[arm]).max()
            yield (
                change,
                np.linalg.norm(got["left_elbow"] - elbow) * 60,
                np.linalg.norm(got["left_wrist"][:3] - pose[:3]),
            )
        before, elbow = solution, got["left_elbow"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ELBOWS), st.sampled_from([0.5, 0.95]))
def test_straight_lines_of_the_wrist_between_any_two_postures_never_flip_the_elbow(seed, kind, share):
    """Whatever the limits do to the arm on the way, and whether the operator's elbow is tracked: the solution itself
    stays within the velocity limits, and the elbow below 2.5 m/s."""
    for change, elbow_speed, _ in follow_a_line(seed, kind, share):
        assert change <= 1.0 + 1e-6
        assert elbow_speed < 2.5


def test_near_home_the_wrist_follows_nearly_every_straight_line():
    """Within half of all ranges: 25 mm in more than 95 % of the lines. In the others only another posture of the arm
    would reach.
    """
    off = [max(distance for _, _, distance in follow_a_line(seed, ELBOWS[seed % 3], 0.5)) for seed in range(60)]
    assert np.mean(np.array(off) < 0.025) > 0.95
    assert np.median(off) < 1e-3


def test_raising_a_straight_arm_sideways_through_the_shoulder_singularity_is_smooth():
    retargeter = Retargeter(TABLE, smoothing=False)
    q, i = np.clip(np.zeros(50), LOWER, UPPER), TABLE.index["left_shoulder_roll"]
    q[TABLE.index["left_elbow"]] = -0.3
    retargeter.reset(q)
    for k in range(180):
        q[i] = 2.2 * k / 180
        out = retargeter.retarget(SKELETON.frame(q, k, k / 60))
        error = SKELETON.parts(out)["left_wrist"][:3] - SKELETON.parts(q)["left_wrist"][:3]
        assert np.linalg.norm(error) < 5e-3


def test_left_and_right_are_mirror_images():
    signs, swap = joints.mirror_signs(TABLE.names), joints.mirror_index(TABLE)
    rng = np.random.default_rng(4)
    for q in poses(40, seed=6, share=0.8):
        frame = SKELETON.frame(q)
        noise = rng.normal(scale=0.03, size=3)
        frame.parts["left_wrist"][:3] += noise
        frame.parts["left_hand"] = frame.parts["left_hand"] * 1.1
        parts = {}
        for name, value in frame.parts.items():
            side, _, rest = name.partition("_")
            name = {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)
            value = value.copy()
            value[..., 1] *= -1
            if value.shape == (7,):
                value[[4, 6]] *= -1  # reflection in x-z turns rotations about x and z around
            parts[name] = value
        straight, mirrored = plain(), plain()  # one each: what is learnt of one hand must not count for the other's
        straight.reset(HOME)
        mirrored.reset((HOME * signs)[swap])
        expected = (straight.retarget(frame) * signs)[swap]
        np.testing.assert_allclose(mirrored.retarget(OperatorFrame(parts)), expected, atol=1e-4)


@pytest.mark.parametrize("distance", [0.54, 0.6, 1.0, 3.0])
def test_an_unreachable_wrist_is_approached_along_the_line_to_it(distance):
    retargeter = plain()
    retargeter.reset(HOME)
    frame = SKELETON.frame(HOME)
    shoulder = np.array([0.0, 0.23, 0.48])
    direction = np.array([0.8, 0.1, -0.59])
    direction /= np.linalg.norm(direction)
    wrist = frame.parts["left_wrist"].copy()
    wrist[:3] = shoulder + distance * direction
    q = retargeter.retarget(with_parts(frame, left_wrist=wrist, left_elbow=None))
    reached = SKELETON.parts(q)["left_wrist"][:3] - shoulder
    assert retargeter.report["left_wrist"] == LIMITED
    assert np.linalg.norm(reached) > 0.52
    assert np.arccos(np.clip(reached @ direction / np.linalg.norm(reached), -1, 1)) < 0.15


def test_a_wrist_rotation_beyond_the_limits_costs_little_position():
    retargeter = plain()
    retargeter.reset(HOME)
    frame = SKELETON.frame(HOME)
    wrist = frame.parts["left_wrist"].copy()
    wrist[3:] = [np.cos(1.4), np.sin(1.4), 0, 0]  # rolled by 2.8 rad, which no swivel of the elbow gives
    for _ in range(10):
        q = retargeter.retarget(with_parts(frame, left_wrist=wrist))
    assert np.linalg.norm(SKELETON.parts(q)["left_wrist"][:3] - wrist[:3]) < 0.1
    assert retargeter.report["left_wrist"] == LIMITED


def test_the_wrist_counts_more_than_the_elbow():
    """An elbow where a joint limit forbids it: the swivel gives way and the wrist's pose is met all the same."""
    retargeter = plain()
    retargeter.reset(HOME)
    frame = SKELETON.frame(HOME)
    elbow = frame.parts["left_elbow"] + [0.1, 0.2, 0.3]
    for _ in range(10):
        q = retargeter.retarget(with_parts(frame, left_elbow=elbow))
    got = SKELETON.parts(q)
    assert np.linalg.norm(got["left_wrist"][:3] - frame.parts["left_wrist"][:3]) < 5e-4
    assert rotation_error(got["left_wrist"][3:], frame.parts["left_wrist"][3:]) < 5e-3
    assert np.linalg.norm(got["left_elbow"] - elbow) < np.linalg.norm(frame.parts["left_elbow"] - elbow)
    assert retargeter.report["left_wrist"] == OK


@pytest.mark.parametrize("part", ["left_hand", "right_wrist", "head", "chest"])
@pytest.mark.parametrize("fault", ["missing", "nan", "inf", "huge", "shape"])
def test_a_part_that_fails_holds_and_is_reported_while_the_rest_moves(part, fault):
    first, second = SKELETON.frame(HOME), SKELETON.frame(HOME + 0.1)
    retargeter = plain()
    before = retargeter.retarget(first)
    bad = second.parts[part].copy()
    if fault == "shape":
        bad = bad[:-1]
    else:
        bad.flat[1] = {"missing": 0.0, "nan": np.nan, "inf": np.inf, "huge": 1e300}[fault]
    out = retargeter.retarget(with_parts(second, **{part: None if fault == "missing" else bad}))
    assert retargeter.report[part] == {"missing": LOST, "shape": WRONG}.get(fault, NOT_FINITE)
    held = {
        "left_hand": retargeter.hand_index["left"],
        "right_wrist": retargeter.arm_index["right"],
        "head": retargeter.neck_index,
        "chest": retargeter.waist_index,
    }[part]
    np.testing.assert_array_equal(out[held], before[held])
    moving = retargeter.hand_index["right"]
    assert (np.abs(out[moving] - before[moving]) > 0.05).all()
    assert retargeter.report["right_hand"] == OK


def test_a_tracker_that_jumps_for_a_frame_is_ignored_and_one_that_stays_is_believed():
    retargeter = plain()
    frame = SKELETON.frame(HOME)
    retargeter.retarget(frame)
    wrist = frame.parts["left_wrist"].copy()
    wrist[:3] += [0.1, 0.25, 0.15]
    outputs = []
    for k in range(1, 8):
        outputs.append(retargeter.retarget(with_parts(OperatorFrame(frame.parts, k, k / 60), left_wrist=wrist)))
        if k == 1:
            assert retargeter.report["left_wrist"] == OUTLIER
    arm = retargeter.arm_index["left"]
    np.testing.assert_allclose(outputs[0][arm], HOME[arm], atol=1e-6)
    assert np.abs(outputs[-1][arm] - HOME[arm]).max() > 0.2


@pytest.mark.parametrize("part", ["left_wrist", "right_hand"])
def test_a_wrist_that_flips_or_a_fingertip_that_jumps_for_a_frame_is_ignored(part):
    retargeter = plain()
    frame = SKELETON.frame(HOME)
    before = retargeter.retarget(frame)
    value = frame.parts[part].copy()
    if part == "left_wrist":
        w, x, y, z = value[3:]
        value[3:] = -x, w, -z, y  # turned by pi about the hand's x
    else:
        value[8] += [0.3, 0.0, 0.0]
    out = retargeter.retarget(with_parts(OperatorFrame(frame.parts, 1, 1 / 60), **{part: value}))
    assert retargeter.report[part] == OUTLIER
    np.testing.assert_allclose(out, before, atol=1e-6)


@pytest.mark.parametrize("part", ["chest", "head"])
def test_an_operator_who_turns_past_pi_does_not_swing_the_robot_to_the_other_side(part):
    retargeter = plain()
    retargeter.reset(HOME)
    yaw = TABLE.index["waist_yaw" if part == "chest" else "head_yaw"]
    for k in range(80):
        angle = 0.05 * k  # to 3.95 rad
        pose = np.array([0.1, 0, 0.4, np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
        q = retargeter.retarget(OperatorFrame({part: pose}, k, k / 60))
    assert q[yaw] == UPPER[yaw] and retargeter.report[part] == LIMITED


def test_relative_mode_counts_motion_from_the_reset():
    """An operator who stands elsewhere and otherwise: nothing moves until the operator moves, and then by as much."""
    robot_pose, operator_pose = HOME, poses(1, seed=11, share=0.4)[0]
    retargeter = plain("relative")
    retargeter.reset(robot_pose)
    start = SKELETON.frame(operator_pose)
    np.testing.assert_allclose(retargeter.retarget(start), robot_pose, atol=1e-6)
    shift = np.array([0.03, 0.02, 0.04])
    moved = {name: value.copy() for name, value in start.parts.items()}
    for name in ("left_wrist", "left_elbow"):
        moved[name][:3] += shift
    q = retargeter.retarget(OperatorFrame(moved, 1, 1 / 60))
    went = SKELETON.parts(q)["left_wrist"][:3] - SKELETON.parts(robot_pose)["left_wrist"][:3]
    np.testing.assert_allclose(went, shift, atol=2e-3)


def test_relative_mode_starts_again_where_the_robot_is_when_a_part_was_long_lost():
    retargeter = Retargeter(TABLE, mode="relative", smoothing=False)
    retargeter.reset(HOME)
    frame = SKELETON.frame(HOME)
    retargeter.retarget(frame)
    for k in range(1, 60):
        retargeter.retarget(OperatorFrame({n: v for n, v in frame.parts.items() if n != "left_wrist"}, k, k / 60))
    wrist = frame.parts["left_wrist"].copy()
    wrist[:3] += 0.2
    out = retargeter.retarget(with_parts(OperatorFrame(frame.parts, 60, 1.0), left_wrist=wrist))
    arm = retargeter.arm_index["left"]
    np.testing.assert_allclose(out[arm], HOME[arm], atol=1e-6)


def test_smoothing_calms_noise_and_hardly_delays_motion():
    rng = np.random.default_rng(0)
    calm, raw = Retargeter(TABLE, velocity_limited=False), plain()
    outputs = {id(calm): [], id(raw): []}
    for k in range(120):
        frame = SKELETON.frame(HOME, k, k / 60)
        parts = {name: value + rng.normal(scale=0.001, size=value.shape) for name, value in frame.parts.items()}
        for retargeter in (calm, raw):
            outputs[id(retargeter)].append(retargeter.retarget(OperatorFrame(parts, k, k / 60)))
    steps = {key: np.abs(np.diff(value, axis=0)).mean() for key, value in outputs.items()}
    assert steps[id(calm)] < 0.5 * steps[id(raw)]


def test_a_wrong_mode_or_reset_is_a_clear_error():
    with pytest.raises(ValueError, match="absolute"):
        Retargeter(TABLE, mode="mirror")
    with pytest.raises(ValueError, match="50"):
        Retargeter(TABLE).reset(np.zeros(3))


def test_a_nearly_straight_arm_does_not_chatter_with_the_trackers_noise():
    """2 degrees from straight, 0.5 mm of noise in every place: the elbow moves by less than 4 mrad per frame."""
    rng = np.random.default_rng(0)
    pose = HOME.copy()
    for side in ("left", "right"):
        pose[TABLE.index[f"{side}_elbow"]] = -np.radians(2.0)
        pose[TABLE.index[f"{side}_shoulder_pitch"]] = -0.8
    retargeter = Retargeter(TABLE)
    retargeter.reset(pose)
    elbows, frame = [], SKELETON.frame(pose)
    for k in range(300):
        parts = {name: value.copy() for name, value in frame.parts.items()}
        for name in ("left_wrist", "right_wrist", "left_elbow", "right_elbow"):
            parts[name][:3] += rng.normal(scale=5e-4, size=3)
        out = retargeter.retarget(OperatorFrame(parts, k, k / 60))
        elbows.append(out[[TABLE.index["left_elbow"], TABLE.index["right_elbow"]]])
    assert np.sqrt((np.diff(elbows[60:], axis=0) ** 2).mean()) < 4e-3


def test_an_arm_that_stretches_and_bends_again_arrives_at_both_ends():
    retargeter = Retargeter(TABLE)
    bent, straight = HOME.copy(), HOME.copy()
    straight[TABLE.index["left_elbow"]] = 0.0
    retargeter.reset(bent)
    for end in (straight, bent):
        for k in range(120):
            q = retargeter.retarget(SKELETON.frame(end, k, k / 60))
        reached, wanted = SKELETON.parts(q)["left_wrist"][:3], SKELETON.parts(end)["left_wrist"][:3]
        assert np.linalg.norm(reached - wanted) < 2e-3
