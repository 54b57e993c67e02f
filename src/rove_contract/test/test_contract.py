# SPDX-License-Identifier: Apache-2.0
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import episode, messages, modes, topics
from rove_contract.modes import Mode, Trigger
from rove_description import joints, mjcf

TABLE = joints.load()
HEADER = "name,block,lower,upper,velocity,acceleration,jerk\n"


def test_default_layout_is_head_3_waist_3_arms_14_hands_30():
    counts = {block: len(TABLE.indices(block)) for block in TABLE.blocks_present()}
    assert counts == {"head": 3, "waist": 3, "arm": 14, "hand": 30}
    assert len(TABLE.names) == len(set(TABLE.names)) == 50
    for array in (getattr(TABLE.limits, f.name) for f in dataclasses.fields(TABLE.limits)):
        assert array.shape == (50,)


def test_left_and_right_limits_are_mirror_images():
    mirror, sign = joints.mirror_index(TABLE), joints.mirror_signs(TABLE.names)
    limits = TABLE.limits
    np.testing.assert_array_equal(limits.velocity, limits.velocity[mirror])
    np.testing.assert_array_equal(np.where(sign > 0, limits.lower, -limits.upper), limits.lower[mirror])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,arm,-1,1,1,1", "row 2: 6 columns, expected 7"),
        ("a,leg,-1,1,1,1,1", r"row 2 \(a\): block 'leg' is not one of"),
        ("a,arm,1,1,1,1,1", r"row 2 \(a\): lower 1 is not below upper 1"),
        ("a,arm,-1,1,0,1,1", r"row 2 \(a\): velocity is 0, expected a positive number"),
        ("a,arm,-1,x,1,1,1", r"row 2 \(a\): upper is 'x', expected a number"),
        ("a,arm,-1,nan,1,1,1", r"row 2 \(a\): upper is nan, expected a finite number"),
        ("a,arm,-1,1,1,1,1\na,arm,-1,1,1,1,1", "row 3: joint 'a' stands already in row 2"),
    ],
)
def test_a_wrong_layout_file_is_refused_naming_the_row(tmp_path, row, message):
    path = tmp_path / "joints.csv"
    path.write_text(HEADER + row + "\n")
    with pytest.raises(joints.LayoutError, match=message):
        joints.load(path)


def test_another_layout_can_be_given_by_file(tmp_path):
    path = tmp_path / "joints.csv"
    path.write_text("# two joints\n" + HEADER + "b,arm,-1,1,1,2,3\nc,end_effector,0,1,1,2,3\n")
    table = joints.load(path)
    assert table.names == ("b", "c")
    assert table.blocks == ("arm", "end_effector")


def test_a_missing_layout_file_says_so(tmp_path):
    with pytest.raises(joints.LayoutError, match="cannot read the joint layout"):
        joints.load(tmp_path / "none.csv")


def test_home_is_within_limits():
    home = mjcf.home(TABLE)
    assert np.all((home >= TABLE.limits.lower) & (home <= TABLE.limits.upper))


@given(st.permutations(range(50)), st.integers(1, 50))
def test_joint_states_are_read_by_name_whatever_their_order_or_number(order, count):
    q = np.arange(50.0)
    chosen = order[:count]
    msg = SimpleNamespace(name=[TABLE.names[i] for i in chosen], position=q[list(chosen)], velocity=[])
    read = messages.JointReader(TABLE).position(msg)
    present = np.zeros(50, dtype=bool)
    present[list(chosen)] = True
    np.testing.assert_array_equal(read[present], q[present])
    assert np.all(np.isnan(read[~present]))


def test_a_reader_follows_a_sender_that_changes_its_order():
    reader = messages.JointReader(TABLE)
    names = list(TABLE.names)
    first = reader.read(names, np.arange(50.0))
    second = reader.read(names[::-1], np.arange(50.0)[::-1])
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (["head_yaw", "head_yaw"], [0.0, 0.0], "stand twice"),
        (["head_yaw"], [0.0, 1.0], "1 joint names, but 2 values"),
        (["knee"], [0.0], "none of the 1 joint names is known"),
    ],
)
def test_malformed_joint_messages_are_refused(names, values, message):
    with pytest.raises(messages.JointMessageError, match=message):
        messages.JointReader(TABLE).read(names, values)


def test_the_transition_table_is_the_designs():
    edges = {(m.name, t.service): n.name for (m, t), n in modes.TRANSITIONS.items() if t is not Trigger.ESTOP}
    active = ["ROLLOUT", "PAUSED", "ADAPTATION", "RECOVERY", "DEMONSTRATION"]
    expected = {
        ("IDLE", "start_rollout"): "ROLLOUT",
        ("IDLE", "start_demonstration"): "DEMONSTRATION",
        ("ROLLOUT", "pause"): "PAUSED",
        ("ADAPTATION", "pause"): "PAUSED",
        ("RECOVERY", "pause"): "PAUSED",
        ("PAUSED", "takeover"): "ADAPTATION",
        ("PAUSED", "resume"): "ROLLOUT",
        ("ADAPTATION", "recovered"): "RECOVERY",
        ("ESTOP", "reset"): "IDLE",
        **{(m, t): "IDLE" for m in active for t in ("succeed", "fail", "abort")},
    }
    assert edges == expected


@given(st.lists(st.sampled_from(list(Trigger)), max_size=40))
def test_estop_is_possible_after_any_sequence_and_only_reset_leaves_it(triggers):
    mode = Mode.IDLE
    for trigger in triggers:
        try:
            mode = modes.next_mode(mode, trigger)
        except modes.Refused as refusal:
            assert "possible here" in str(refusal)
    assert modes.next_mode(mode, Trigger.ESTOP) is Mode.ESTOP
    assert modes.allowed(Mode.ESTOP) == (Trigger.ESTOP, Trigger.RESET)


@given(st.text(), st.sampled_from(list(modes.Outcome)), st.integers(0, 2**62))
def test_an_episode_survives_the_wire(note, outcome, stamp):
    before = episode.Episode(id="e1", task="erase the whiteboard", note=note, outcome=outcome, started_ns=stamp)
    assert episode.from_values(episode.to_values(before)) == before


def test_no_tool_can_take_a_mode_or_trigger_for_a_state_or_transition_of_a_lifecycle_node():
    """The constants of lifecycle_msgs/State end at 15, those of Transition at 99; ids are uint8."""
    ids = [modes.to_wire(value) for value in (None, *Mode, *Trigger)]
    assert min(ids) > 99 and max(ids) <= 255
    assert [modes.mode_from_wire(modes.to_wire(mode)) for mode in Mode] == list(Mode)
    with pytest.raises(ValueError, match="4 is not the id of a mode"):
        modes.mode_from_wire(4)  # PRIMARY_STATE_FINALIZED


@pytest.mark.parametrize("first_id", [0, modes.WIRE_IDS_FROM])
def test_modes_are_read_from_bags_of_before_the_ids_moved(first_id):
    for mode in Mode:
        event = SimpleNamespace(goal_state=SimpleNamespace(id=first_id + mode))
        assert messages.recorded_mode(event) is mode


def test_an_episode_message_without_id_is_refused():
    with pytest.raises(ValueError, match="no 'id'"):
        episode.from_values({"task": "x"})


def test_topic_names_are_unique_and_absolute():
    names = [topic.name for topic in topics.TOPICS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("/") for name in names)


@pytest.mark.parametrize(
    "pictures, info",
    [
        ("/ego_camera/image/compressed", "/ego_camera/camera_info"),
        ("/camera/color/image_raw/compressed", "/camera/color/camera_info"),
        ("/cameras/left/compressed", "/cameras/left/camera_info"),
        ("/ego/compressed", "/ego/camera_info"),
        ("/image/compressed", "/image/camera_info"),
    ],
)
def test_camera_info_stands_beside_the_pictures_and_two_cameras_never_share_it(pictures, info):
    assert topics.camera_info(pictures).name == info


@given(st.integers(16, 4000), st.integers(16, 4000), st.floats(5, 170))
def test_camera_info_projects_the_edge_of_the_view_onto_the_edge_of_the_picture(width, height, fovy):
    info = messages.fill_camera_info(SimpleNamespace(header=SimpleNamespace()), "ego", width, height, fovy)
    edge = np.array([0.0, np.tan(np.radians(fovy / 2)), 1.0])  # y points down
    x, y, z = np.reshape(info.k, (3, 3)) @ edge
    np.testing.assert_allclose([x / z, y / z], [(width - 1) / 2, height - 0.5], rtol=1e-9)
    np.testing.assert_allclose(np.reshape(info.p, (3, 4))[:, :3], np.reshape(info.k, (3, 3)))


def test_a_camera_of_which_nobody_knows_the_view_is_not_calibrated():
    info = messages.fill_camera_info(SimpleNamespace(header=SimpleNamespace()), "ego", 64, 48, None)
    assert not hasattr(info, "k") and (info.width, info.height) == (64, 48), "K stays zero"


def test_mjcf_has_every_joint_and_actuators_in_contract_order():
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(mjcf.mjcf())
    assert [model.actuator(i).name for i in range(model.nu)] == list(TABLE.names)
    for name, lower, upper in zip(TABLE.names, TABLE.limits.lower, TABLE.limits.upper):
        np.testing.assert_allclose(model.joint(name).range, [lower, upper], atol=1e-9)


def test_mjcf_is_mirror_symmetric():
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(mjcf.mjcf())
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    q = rng.uniform(TABLE.limits.lower, TABLE.limits.upper)
    mirrored = (joints.mirror_signs(TABLE.names) * q)[joints.mirror_index(TABLE)]
    address = [int(model.joint(name).qposadr[0]) for name in TABLE.names]

    def site(pose, name):
        data.qpos[address] = pose
        mujoco.mj_kinematics(model, data)
        return data.site(name).xpos.copy()

    for part in ("wrist", "palm", "index_tip", "thumb_tip", "little_tip"):
        np.testing.assert_allclose(site(q, f"left_{part}") * [1, -1, 1], site(mirrored, f"right_{part}"), atol=1e-9)


def test_cores_import_without_rclpy():
    import subprocess
    import sys

    cores = ("joints", "timing", "modes", "topics", "messages", "episode", "operator_frame", "images", "files")
    code = "import sys; sys.modules['rclpy'] = None\n" + "\n".join(f"import rove_contract.{m}" for m in cores)
    subprocess.run([sys.executable, "-c", code], check=True)
