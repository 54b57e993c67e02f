# SPDX-License-Identifier: Apache-2.0
"""A robot with a lift: what slides is told in metres, and compared in metres, wherever joints are."""

from types import SimpleNamespace

import numpy as np
import pytest

from rove_contract.driver import Driver
from rove_contract.joint_error import JointError
from rove_contract.operator_frame import OperatorFrame
from rove_contract.thresholds import TAKEOVER_RAD
from rove_description import check, links, robot, urdf
from rove_description.card import RobotCard
from rove_description.joints import METRES_PER_RAD
from rove_sim.free_world import FreeWorld
from rove_supervisor.console import view
from rove_supervisor.panel.figure import TRUNK, Figure
from rove_supervisor.watch import Alignment
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.state_check import StateCheck
from rove_teleop.retargeting import any_robot
from rove_teleop.retargeting.alignment import alignment

PARTS = [  # joint, its type, parent, child, place in the parent, axis
    ("lift", "prismatic", "base", "torso", "0 0 0.6", "0 0 1"),
    ("pan", "revolute", "torso", "head", "0 0 0.5", "0 0 1"),
    *(
        (f"{side}{name}", "revolute", f"{side}{before}" if before else "torso", f"{side}{after}", place, axis)
        for side, y in (("l", 0.2), ("r", -0.2))
        for name, before, after, place, axis in (
            ("1", "", "upper", f"0 {y} 0.4", "0 1 0"),
            ("2", "upper", "elbow", "0 0 -0.3", "0 1 0"),
            ("3", "elbow", "wrist", "0 0 -0.25", "0 0 1"),
        )
    ),
]
TABLE = """lift,waist,0,0.4,0.1,0.5,5,
pan,head,-1,1,2,8,160,
""" + "".join(
    f"{side}{k},arm,-2.5,2.5,2,8,160,{word}\n" for side, word in (("l", "left"), ("r", "right")) for k in (1, 2, 3)
)
YAML = """
model: lift.urdf
base: base
frames: {head: head, chest: torso}
home: {lift: 0.1}
arms: {elbow: "{s}elbow", wrist: "{s}wrist", palm: "{s}wrist"}
"""


@pytest.fixture
def folder(tmp_path):
    parts = ["<link name='base'/>"]
    for joint, kind, parent, child, place, axis in PARTS:
        ball = "<geometry><sphere radius='0.04'/></geometry>"
        parts.append(f"<link name='{child}'><visual>{ball}</visual><collision>{ball}</collision></link>")
        parts.append(
            f"<joint name='{joint}' type='{kind}'><parent link='{parent}'/><child link='{child}'/>"
            f"<origin xyz='{place}'/><axis xyz='{axis}'/>"
            f"<limit lower='-2.5' upper='2.5' velocity='1' effort='1'/></joint>"
        )
    (tmp_path / "lift.urdf").write_text(f"<robot name='lift'>{''.join(parts)}</robot>")
    (tmp_path / "joints.csv").write_text(TABLE)
    (tmp_path / "robot.yaml").write_text(YAML)
    return tmp_path


@pytest.fixture
def lifted(folder):
    return robot.load(folder)


def moved(described, metres=0.0, radians=0.0):
    q = described.home.copy()
    q[0] += metres
    q[1] += radians
    return q


def test_the_description_knows_what_slides_and_says_so_in_metres(folder, lifted):
    assert lifted.table.slides == {0} and [lifted.table.unit(i) for i in (0, 1)] == ["m", "rad"]
    assert "lift slides: 0 to 0.4 m, at most 0.1 m/s" in check.describe(lifted)
    assert lifted.card.units[:2] == ("m", "rad") and RobotCard.from_dict(lifted.card.to_dict()) == lifted.card
    assert robot.load().card.units == (), "nothing new for a robot whose joints all turn"
    (folder / "robot.yaml").write_text(YAML.replace("lift: 0.1", "lift: 0.5"))
    with pytest.raises(robot.RobotError, match=r"home.lift: expected 0 to 0.4 m, got 0.5"):
        robot.load(folder)


def test_the_lift_keeps_its_limits_in_metres_on_the_way_through_filter_and_simulator(lifted):
    limiter, world = CommandFilter(lifted.table.limits, 0.01), FreeWorld(lifted, 64)
    try:
        limiter.reset(lifted.home)
        commands = [limiter.step(moved(lifted, 1.0)).copy() for _ in range(700)]  # asked for 0.7 m beyond the end
        for command in commands:
            world.step(command)
        heights = np.array(commands)[:, 0]
        assert heights.max() <= 0.4 and heights[-1] == pytest.approx(0.4, abs=1e-6)
        assert np.abs(np.diff(heights)).max() <= 0.1 * 0.01 + 1e-9, "0.1 m/s"
        assert world.q[0] == pytest.approx(0.4, abs=1e-4)
    finally:
        world.close()


def test_the_panel_draws_the_body_higher_when_it_is_lifted(lifted):
    figure = Figure(lifted)
    low, high = (figure.points(moved(lifted, metres)) for metres in (0.0, 0.2))
    for name in (*figure.lines[TRUNK][1:], "lelbow", "rwrist"):
        assert high[name][2] - low[name][2] == pytest.approx(0.2)


def test_alignment_is_in_metres_where_the_lift_is_farthest_and_a_takeover_is_refused_by_its_own_limit(lifted):
    limit = TAKEOVER_RAD * METRES_PER_RAD
    blocks = lifted.table.blocks_present()
    for metres, refused in ((limit - 0.01, False), (limit + 0.01, True)):
        values = alignment(lifted.table, moved(lifted, metres, 0.2), lifted.home)
        assert values["waist"] == f"{metres:.4f} m" and values["head"] == "0.2000"
        seen = Alignment.read(0, "", values, 0.0)
        assert seen.worst_joint == "lift", "0.095 m count more than 0.2 rad"
        why = seen.refusal(0.01, TAKEOVER_RAD, blocks)
        assert bool(why) == refused
    assert why == f"misaligned: lift (waist) is {metres:.3f} m off, limit 0.105"


def test_a_measurement_that_is_missing_is_infinitely_far(lifted):
    values = alignment(lifted.table, lifted.home, moved(lifted, np.nan))
    assert values["waist"] == "inf m" and values["worst_joint"] == "lift"
    assert JointError.parse(values["waist"]).in_rad == np.inf
    assert (
        JointError.parse("0.2 mm").in_rad == JointError.parse("x").in_rad == JointError.parse("nan m").in_rad == np.inf
    )


def test_the_console_shows_the_metres(lifted):
    state = {
        "threshold": 0.35,
        "names": ["waist", "head"],
        "blocks": {"waist": 0.4, "head": 0.1},
        "worst_joint": "lift",
    }
    state |= {"lengths": {"waist": "0.120 m"}, "why": "misaligned: lift (waist) is 0.120 m off, limit 0.105"}
    waist, head = ("".join(text for text, _ in line) for line in view._alignment(state))
    assert "0.120 m" in waist and "0.10" in head and " m" not in head


def test_a_driver_and_the_command_filter_name_the_lift_in_metres(lifted):
    message = SimpleNamespace(
        name=list(lifted.table.names), position=moved(lifted, 0.08), header=SimpleNamespace(stamp=None)
    )
    message.header.stamp = SimpleNamespace(sec=1, nanosec=0)
    driver = Driver(lifted.table)
    driver.measure(lifted.home)
    driver.command(message, 0.0)
    assert "lift is commanded 0.080 m away from where it is" in driver.reason  # 0.25 rad would have been near enough
    states = StateCheck(lifted.table)
    assert "lift at 0.55 m, its range is 0 to 0.4" in states.fault(moved(lifted, 0.45), 0.0, 0.0)
    assert states.fault(moved(lifted, 0.35), 0.0, 100.0) == "", "5 cm past the end are a drive's"
    assert "lift from 0.45 to 0.00 m within" in states.fault(moved(lifted, -0.1), 0.0, 100.01)


def test_ros_tools_see_a_prismatic_joint(lifted):
    text = urdf.export(links.LinkTree(lifted, {}))
    assert "type='prismatic'" in text or 'type="prismatic"' in text


def test_an_operator_who_turns_and_reaches_leaves_the_lift_where_the_robot_has_it(lifted):
    retargeter = any_robot.make(lifted)
    retargeter.reset(moved(lifted, 0.15))
    parts = {"chest": np.array([0.0, 0, 1.4, 0.9, 0, 0, 0.436]), "right_wrist": np.array([0.2, -0.2, 0.9, 1, 0, 0, 0])}
    for seq in range(5):
        q = retargeter.retarget(OperatorFrame(seq=seq, t=seq / 60.0, parts=parts))
    assert q[0] == pytest.approx(0.25) and retargeter.report["right_wrist"] in ("ok", "limited")
