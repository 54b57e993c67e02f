# SPDX-License-Identifier: Apache-2.0
"""The whiteboard scene around the robot: a tilted board on a stand, a ledge, an eraser (free body), marks. MJCF
fragments and geometry.

Board frame: origin at the centre of the writing surface, u to the robot's right, v up the slope, n out of the board
towards the robot. All lengths are metres, in the pelvis frame unless said otherwise. No shadows and no multisampling:
software GL draws 10x faster so.
"""

from __future__ import annotations

import math

import numpy as np

from rove_description import joints, mjcf

BOARD_CENTRE = np.array([0.51, -0.10, 0.36])
BOARD_TILT = math.radians(40.0)  # leans back from the vertical: gravity then rests the eraser on board and ledge
BOARD_SIZE = np.array([0.64, 0.46])  # u, v
BOARD_U = np.array([0.0, -1.0, 0.0])
BOARD_V = np.array([math.sin(BOARD_TILT), 0.0, math.cos(BOARD_TILT)])
BOARD_N = np.array([-math.cos(BOARD_TILT), 0.0, math.sin(BOARD_TILT)])
BOARD_AXES = np.stack([BOARD_U, BOARD_V, BOARD_N], axis=1)  # (3, 3): board frame -> pelvis frame

ERASER_SIZE = np.array([0.12, 0.065, 0.05])  # u, v, n when it rests on the ledge
LEDGE_DEPTH = 0.045  # under the eraser's 0.05, so that the hand around the eraser clears it
LEDGE_THICKNESS = 0.014
ERASER_REST_V = -BOARD_SIZE[1] / 2 + LEDGE_THICKNESS / 2 + ERASER_SIZE[1] / 2
ERASER_REST_N = ERASER_SIZE[2] / 2

MARKS = 12
MARK_SIZE = np.array([0.030, 0.014])  # about 3 x 1.5 pixels of a 96-pixel ego picture

# Pose of the eraser in the right hand's frame (origin wrist, palm normal +y, fingers -z): just outside the palm site,
# which the robot model places.
ERASER_IN_HAND = np.array([0.0, 0.040, -0.085])
# Fingers point up the slope, turned to the robot's left by this angle: keeps the elbow at the robot's side.
FINGER_TILT = math.radians(25.0)


def board_point(u: float, v: float, n: float = 0.0) -> np.ndarray:
    """Board coordinates -> (3,) in the pelvis frame."""
    return BOARD_CENTRE + BOARD_AXES @ np.array([u, v, n])


def board_coordinates(point: np.ndarray) -> np.ndarray:
    """(3,) in the pelvis frame -> (u, v, n)."""
    return BOARD_AXES.T @ (np.asarray(point) - BOARD_CENTRE)


def wiping_hand() -> np.ndarray:
    """(3, 3) right hand frame -> pelvis frame when the palm lies flat against the board."""
    fingers = math.cos(FINGER_TILT) * BOARD_V - math.sin(FINGER_TILT) * BOARD_U
    y, z = -BOARD_N, -fingers
    return np.stack([np.cross(y, z), y, z], axis=1)


def eraser_in_hand() -> np.ndarray:
    """(3, 3) eraser frame -> right hand frame in the grasp: aligned with the board when the hand is `wiping_hand`."""
    return wiping_hand().T @ BOARD_AXES


def _numbers(values) -> str:
    return " ".join(f"{value:.6g}" for value in values)


ASSETS = """
<texture name="sky" type="skybox" builtin="gradient" rgb1="0.55 0.62 0.70" rgb2="0.80 0.84 0.88" width="64"
  height="384"/>
<texture name="floor" type="2d" builtin="checker" rgb1="0.42 0.40 0.38" rgb2="0.48 0.46 0.43" width="128" height="128"/>
<material name="floor" texture="floor" texrepeat="12 12" specular="0" shininess="0"/>
<material name="board" rgba="0.97 0.97 0.96 1" specular="0.1" shininess="0.3"/>
<material name="metal" rgba="0.45 0.47 0.50 1" specular="0.2"/>
"""

VISUAL = """
<global offwidth="640" offheight="480" azimuth="140" elevation="-20"/>
<quality shadowsize="0" offsamples="0"/>
<headlight ambient="0.38 0.38 0.38" diffuse="0.30 0.30 0.30" specular="0 0 0"/>
<map znear="0.02" zfar="20"/>
"""


def _stand() -> str:
    lower = BOARD_CENTRE - BOARD_V * BOARD_SIZE[1] * 0.45 - BOARD_N * 0.04
    upper = BOARD_CENTRE + BOARD_V * BOARD_SIZE[1] * 0.45 - BOARD_N * 0.04
    legs = ""
    for side in (-1.0, 1.0):
        shift = BOARD_U * side * BOARD_SIZE[0] * 0.42
        front, back = lower + shift, upper + shift
        foot, far = front * [1, 1, 0] + [0.05, 0, 0], back * [1, 1, 0] + [0.25, 0, 0]
        for a, b in ((front, foot), (back, far)):
            a, b = a + [0, 0, mjcf.PELVIS_HEIGHT], b
            legs += (
                f'<geom class="scenery" type="capsule" size="0.012" fromto="{_numbers(a)} {_numbers(b)}" '
                f'material="metal"/>'
            )
    return legs


def world_xml() -> str:
    """`<worldbody>` fragment: floor, lights, camera `third`, board with marks `mark0` ..., ledge, eraser."""
    half = BOARD_SIZE / 2
    origin = BOARD_CENTRE + [0, 0, mjcf.PELVIS_HEIGHT]
    axes = _numbers([*BOARD_U, *BOARD_V])
    marks = "".join(
        f'<geom name="mark{i}" class="scenery" type="box" size="{MARK_SIZE[0] / 2} {MARK_SIZE[1] / 2} 0.0006" '
        f'pos="{0.01 * (i + 1):g} 0.01 0.001" euler="0 0 0.3" rgba="0.06 0.10 0.55 1"/>'
        for i in range(MARKS)
    )
    edge = 0.010
    frame = "".join(
        f'<geom class="scenery" type="box" size="{a:g} {b:g} 0.012" pos="{x:g} {y:g} -0.008" material="metal"/>'
        for x, y, a, b in (
            (half[0] + edge, 0, edge, half[1] + 2 * edge),
            (-half[0] - edge, 0, edge, half[1] + 2 * edge),
            (0, half[1] + edge, half[0], edge),
            (0, -half[1] - edge, half[0], edge),
        )
    )
    rest = board_point(0.0, ERASER_REST_V, ERASER_REST_N) + [0, 0, mjcf.PELVIS_HEIGHT]
    size = ERASER_SIZE / 2
    return f"""
<geom name="floor" type="plane" size="6 6 0.1" material="floor" contype="1" conaffinity="1"/>
<geom class="scenery" type="box" size="0.02 4 1.6" pos="2.2 0 1.6" rgba="0.70 0.74 0.72 1"/>
<light name="key" pos="-0.8 1.0 3.0" dir="0.5 -0.3 -1" diffuse="0.42 0.42 0.40" specular="0.05 0.05 0.05"
  castshadow="false"/>
<light name="fill" pos="-1.0 -1.5 2.2" dir="0.6 0.6 -0.6" diffuse="0.22 0.22 0.24" specular="0 0 0" castshadow="false"/>
<camera name="third" pos="-0.55 -1.35 1.75" xyaxes="0.80 -0.60 0 0.22 0.30 0.93" fovy="48"/>
{_stand()}
<body name="board" pos="{_numbers(origin)}" xyaxes="{axes}">
  <geom name="board" type="box" size="{half[0]:g} {half[1]:g} 0.01" pos="0 0 -0.01" material="board"
      contype="5" conaffinity="1"
    friction="0.35 0.005 0.0001"/>
  <geom name="ledge" type="box" size="{half[0]:g} {LEDGE_THICKNESS / 2:g} {LEDGE_DEPTH / 2:g}"
    pos="0 {-half[1]:g} {LEDGE_DEPTH / 2:g}" material="metal" contype="1" conaffinity="1" friction="0.8 0.01 0.001"/>
  {frame}
  {marks}
</body>
<body name="eraser" pos="{_numbers(rest)}" xyaxes="{axes}">
  <freejoint name="eraser"/>
  <geom name="eraser" type="box" size="{_numbers(size)}" mass="0.12" rgba="0.95 0.45 0.08 1" contype="1" conaffinity="1"
    friction="0.35 0.005 0.0001" condim="4"/>
  <geom class="scenery" type="box" size="{size[0] + 0.001:g} {size[1] + 0.001:g} 0.008" pos="0 0 {
        -size[2] + 0.0079:g}" mass="0"
    rgba="0.18 0.18 0.20 1"/>
</body>
"""


# The grasp: inactive until the environment's rule closes it. solref 0.06 s: the closing fingers draw the eraser into
# the palm.
def _extra() -> str:
    import mujoco

    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, eraser_in_hand().ravel())
    return f"""
<default><default class="scenery"><geom contype="0" conaffinity="0" group="0"/></default></default>
<equality>
  <weld name="grasp" body1="right_wrist_link" body2="eraser" relpose="{_numbers(ERASER_IN_HAND)}
      {_numbers(quat)}" active="false"
    solref="0.05 1" solimp="0.9 0.98 0.002"/>
</equality>
"""


def xml(table: joints.JointTable | None = None) -> str:
    """Complete MJCF of robot and scene."""
    return mjcf.mjcf(table, model="erase_whiteboard", assets=ASSETS, world=world_xml(), extra=_extra(), visual=VISUAL)
