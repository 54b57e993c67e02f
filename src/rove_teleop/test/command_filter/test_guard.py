# SPDX-License-Identifier: Apache-2.0
"""The guard stops the robot before its links touch; MuJoCo's own geometry is the judge."""

import os

import mujoco
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rove_description import joints, mjcf
from rove_teleop.command_filter.clearance import Clearance, _capsule
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.guard import Guard, GuardConfig

TABLE = joints.load()
LIMITS = TABLE.limits
HOME = mjcf.home(TABLE)
PERIOD = 0.01
CLEARANCE = Guard(TABLE, PERIOD).clearance
EXAMPLES = int(os.environ.get("ROVE_SAFETY_EXAMPLES", "20"))
SAFETY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MODEL = CLEARANCE.model
DATA = mujoco.MjData(MODEL)
QPOS = np.array([MODEL.joint(name).qposadr[0] for name in TABLE.names])


def true_distances(q, pairs):
    """mj_geomDistance of the real shapes, m."""
    DATA.qpos[QPOS] = q
    mujoco.mj_kinematics(MODEL, DATA)
    return np.array(
        [mujoco.mj_geomDistance(MODEL, DATA, MODEL.geom(a).id, MODEL.geom(b).id, 1.0, None) for a, b in pairs]
    )


LINKS = [pair for pair in CLEARANCE.pairs if pair[1] != "workspace"]


def pose(**joints_):
    q = HOME.copy()
    for name, value in joints_.items():
        q[TABLE.index[name]] = value
    return np.clip(q, LIMITS.lower, LIMITS.upper)


def guarded_run(target_of, steps, start=HOME, config=None):
    limiter, guard = CommandFilter(LIMITS, PERIOD), Guard(TABLE, PERIOD, config)
    limiter.reset(start)
    guard.reset(start)
    path = np.array([guard.step(limiter, target_of(k)) for k in range(steps)])
    return path, guard


def test_capsules_enclose_the_links():
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = rng.uniform(LIMITS.lower, LIMITS.upper)
        capsules = CLEARANCE(q)[: len(LINKS)]
        real = true_distances(q, LINKS)
        assert np.all(np.minimum(capsules, 1.0) <= np.maximum(real, 0.0) + 1e-6)
        spheres_and_capsules = [not any(box in a + b for box in ("palm", "head", "visor")) for a, b in LINKS]
        np.testing.assert_allclose(
            np.clip(capsules, 0, 1)[spheres_and_capsules], np.clip(real, 0, 1)[spheres_and_capsules], atol=1e-6
        )


def test_a_distance_that_is_enough_is_never_given_too_large():
    rng = np.random.default_rng(2)
    for _ in range(50):
        q = rng.uniform(LIMITS.lower, LIMITS.upper)
        exact, quick = CLEARANCE(q), CLEARANCE(q, enough=0.12)
        assert np.all(quick <= exact + 1e-12)
        near = exact <= 0.12
        np.testing.assert_array_equal(quick[near], exact[near])
        assert np.all(quick[~near] > 0.12)


def test_the_gradient_is_the_derivative_of_the_distance():
    rng = np.random.default_rng(3)
    clearance = Clearance(TABLE, lower=(-0.3, -0.4, -0.3), upper=(0.4, 0.4, 0.5))
    for pair in rng.integers(0, len(clearance.pairs), 30).tolist() + list(
        range(len(clearance.pairs) - 5, len(clearance.pairs))
    ):
        q = rng.uniform(LIMITS.lower, LIMITS.upper)
        here = clearance(q)[pair]
        gradient = clearance.gradient(pair)
        if clearance.pairs[pair][1] == "workspace" or here < 0.0:
            continue  # a box's corner turns with the link, overlapping segments have no direction
        numeric = [(clearance(q + 1e-6 * e)[pair] - here) / 1e-6 for e in np.eye(len(TABLE))]
        np.testing.assert_allclose(gradient, numeric, atol=2e-3)


def test_nothing_is_slowed_at_home():
    guard = Guard(TABLE, PERIOD)
    assert CLEARANCE(HOME).min() > GuardConfig().margin_m
    target = HOME.copy()
    target[TABLE.index["right_thumb_abduction"]] += 0.3
    target[TABLE.index["waist_pitch"]] += 0.1
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(HOME)
    guard.reset(HOME)
    for _ in range(200):
        guard.step(limiter, target)
    assert guard.interventions == 0


def test_joints_that_do_not_affect_a_pair_do_not_change_its_distance():
    rng = np.random.default_rng(1)
    q = rng.uniform(LIMITS.lower, LIMITS.upper)
    before = CLEARANCE(q)
    for j in range(len(TABLE)):
        moved = q.copy()
        moved[j] = (LIMITS.lower[j] + LIMITS.upper[j]) / 2 if abs(q[j]) > 0.1 else LIMITS.upper[j]
        change = np.abs(CLEARANCE(moved) - before)
        assert change[~CLEARANCE.affects[:, j]].max() < 1e-9


# The right hand into the torso, both hands into each other, a hand into the head.
INTO_TORSO = pose(right_elbow=-2.2, right_shoulder_yaw=1.4, right_shoulder_pitch=0.0)
INTO_EACH_OTHER = pose(
    right_shoulder_yaw=1.2,
    left_shoulder_yaw=-1.2,
    right_elbow=-1.6,
    left_elbow=-1.6,
    left_shoulder_pitch=-0.5,
    right_shoulder_pitch=-0.5,
)
INTO_HEAD = pose(right_shoulder_pitch=-1.9, right_elbow=-2.3, right_shoulder_yaw=1.0, right_shoulder_roll=-0.3)


@pytest.mark.parametrize("target", [INTO_TORSO, INTO_EACH_OTHER, INTO_HEAD], ids=["torso", "hands", "head"])
def test_the_robot_stops_before_contact(target):
    assert true_distances(target, LINKS).min() < 0.0, "the target must be a collision for this test to mean anything"
    path, guard = guarded_run(lambda k: target, 300)
    distances = [true_distances(q, LINKS).min() for q in path[::3]]
    assert min(distances) > 0.0
    assert CLEARANCE(path[-1]).min() >= GuardConfig().margin_m - 1e-3
    assert guard.interventions > 0
    np.testing.assert_allclose(path[-1], path[-10], atol=2e-3)  # and comes to rest


def test_a_wider_margin_keeps_a_wider_distance():
    wide, _ = guarded_run(lambda k: INTO_TORSO, 300, config=GuardConfig(margin_m=0.05, slow_m=0.1))
    roomy = CLEARANCE(HOME) > 0.1
    assert CLEARANCE(wide[-1])[roomy].min() >= 0.049


def test_the_way_back_is_open():
    path, _ = guarded_run(lambda k: INTO_TORSO if k < 200 else HOME, 500)
    np.testing.assert_allclose(path[-1], HOME, atol=1e-6)


def test_the_arm_that_is_clear_goes_on():
    target = INTO_TORSO.copy()
    target[TABLE.index["left_elbow"]] = -0.8
    path, _ = guarded_run(lambda k: target, 300)
    assert abs(path[-1][TABLE.index["left_elbow"]] + 0.8) < 1e-6


def test_a_free_motion_is_not_touched():
    target = pose(right_shoulder_pitch=-0.8, right_elbow=-0.9, left_elbow=-1.1, head_yaw=0.4)
    guarded, guard = guarded_run(lambda k: target, 200)
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(HOME)
    np.testing.assert_array_equal(guarded, np.array([limiter.step(target) for _ in range(200)]))
    assert guard.interventions == 0


def test_the_workspace_box_is_kept():
    config = GuardConfig(upper=(0.45, 1.3, 1.6))
    target = pose(right_shoulder_pitch=-1.5, right_elbow=0.0)
    path, guard = guarded_run(lambda k: target, 300, config=config)
    assert guard.worst[0][1] == "workspace"
    worst = max(np.max(points_of_right_hand(q)[:, 0]) for q in path[::5])
    assert worst <= 0.45


def points_of_right_hand(q):
    DATA.qpos[QPOS] = q
    mujoco.mj_kinematics(MODEL, DATA)
    return np.array([DATA.site(f"right_{finger}_tip").xpos for finger in mjcf.FINGERS])


@SAFETY
@given(st.integers(0, 2**32 - 1))
def test_no_contact_and_no_limit_broken_for_any_motion(seed):
    rng = np.random.default_rng(seed)
    targets = [rng.uniform(LIMITS.lower, LIMITS.upper) for _ in range(12)]
    hold = rng.integers(3, 40)
    path, _ = guarded_run(lambda k: targets[(k // hold) % 12] if (k // 37) % 5 else None, 200)
    assert min(true_distances(q, LINKS).min() for q in path[::4]) > 0.0
    q = np.vstack([HOME, HOME, HOME, path])
    for order, limit in ((1, LIMITS.velocity), (2, LIMITS.acceleration), (3, LIMITS.jerk)):
        assert np.all(np.abs(np.diff(q, n=order, axis=0)) / PERIOD**order <= limit * (1 + 1e-8))
    assert np.all((path >= LIMITS.lower) & (path <= LIMITS.upper))


def test_the_upper_arm_is_kept_off_the_torso_and_the_thumb_off_its_own_forearm():
    guarded = {frozenset(pair) for pair in LINKS}
    for side in mjcf.SIDES:
        assert frozenset((f"{side}_upper_arm", "torso_lower")) in guarded
        assert frozenset((f"{side}_thumb_distal", f"{side}_forearm")) in guarded


def test_every_two_links_are_guarded_unless_they_are_neighbours_touch_at_home_or_are_one_grasp():
    guarded = {frozenset(pair) for pair in LINKS}
    blocks = dict(zip(TABLE.names, TABLE.blocks))
    own = [g for g in range(MODEL.ngeom) if MODEL.geom(g).name]

    def chain(geom):
        body, bodies, carrying = int(MODEL.geom_bodyid[geom]), [], set()
        while body:
            bodies.append(body)
            carrying |= {MODEL.joint(MODEL.body_jntadr[body] + k).name for k in range(MODEL.body_jntnum[body])}
            body = int(MODEL.body_parentid[body])
        return bodies, carrying

    left_out = set()
    for n, a in enumerate(own):
        for b in own[:n]:
            if frozenset((MODEL.geom(a).name, MODEL.geom(b).name)) in guarded:
                continue
            (up_a, carry_a), (up_b, carry_b) = chain(a), chain(b)
            if up_a[0] in up_b[:2] or up_b[0] in up_a[:2]:
                continue  # one body, or neighbours
            if "hand" in {blocks[j] for j in carry_a} and "hand" in {blocks[j] for j in carry_b}:
                continue
            if {blocks[j] for j in carry_a ^ carry_b} <= {"hand"}:
                continue
            left_out.add((MODEL.geom(a).name, MODEL.geom(b).name))
    assert left_out, "the shoulders touch the torso by construction"
    assert true_distances(HOME, sorted(left_out)).max() < 0.03
    assert all({"torso_upper", "neck", "waist", "pelvis"} & set(pair) for pair in left_out)


def test_a_model_without_two_links_to_keep_apart_is_refused():
    joints_ = "".join(
        f'<body name="{name}_body"><joint name="{name}"/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body>'
        for name in TABLE.names
    )
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><body name="pelvis">{joints_}</body></worldbody></mujoco>'
    )
    with pytest.raises(ValueError, match="no two of the robot model's 0 links"):
        Guard(TABLE, PERIOD, model=model)


def test_cylinders_and_meshes_are_enclosed_by_their_capsules():
    corners = np.random.default_rng(1).uniform(-0.1, 0.15, size=(30, 3))
    vertices = " ".join(f"{x:.4f}" for x in corners.ravel())
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><asset><mesh name="m" vertex="{vertices}"/></asset><worldbody>'
        '<geom name="mesh" type="mesh" mesh="m" pos="0.3 0 0"/>'
        '<geom name="cylinder" type="cylinder" size="0.05 0.2" euler="20 40 0"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mesh = model.mesh_vert[:].astype(float)
    angles = np.linspace(0, 2 * np.pi, 40)
    rim = np.stack([0.05 * np.cos(angles), 0.05 * np.sin(angles), np.full(40, 0.2)], axis=1)
    for name, points in (("mesh", mesh), ("cylinder", rim)):
        axis, half, radius = _capsule(model, model.geom(name).id)
        along = np.clip(points[:, axis], -half, half)
        nearest = np.zeros_like(points)
        nearest[:, axis] = along
        assert (np.linalg.norm(points - nearest, axis=1) <= radius + 1e-9).all()
