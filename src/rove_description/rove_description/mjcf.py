# SPDX-License-Identifier: Apache-2.0
"""MJCF of the simulated IRON-R01: our own primitives on a fixed pelvis; joint ranges come from the joint table.

Frame: pelvis, x forward, y left, z up, metres. At q = 0 the robot stands upright, arms and fingers hang along -z,
palms face inward. Angles are radians (MJCF's default is degrees). Sites that other packages rely on: `head`, `chest`,
`{side}_elbow`, `{side}_wrist`, `{side}_palm`, `{side}_{finger}_{mcp,pip,dip,tip}` for the 4 fingers and
`{side}_thumb_{cmc,mcp,ip,tip}`. Cameras are `ego` and `{side}_wrist`. Masses and gains are plausible, not identified
from a robot.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from rove_description import description_file, joints

PELVIS_HEIGHT = 0.95  # m above the floor

# Contact of the hand's skin (class `pad`). Friction 1.0: silicone on painted wood or plastic, measured values are
# 0.8-1.2. condim 4 adds torsional friction, without which a pinched object spins about the line between two
# fingertips; its 0.01 m is about the radius of a pressed fingertip. solref 0.01 s and solimp 0.9-0.98 over 1 mm: the
# skin gives by a fraction of a millimetre under a grip. Elliptic cone, impratio 10: friction is ten times stiffer than
# the normal contact. An eraser that is shaken in the hand for 4 s then moves by 0.9 mm/s in it, with the pyramidal
# cone and impratio 1 by 2.1 mm/s; noslip iterations gave 1.0 mm/s and are left out.
PAD = 'friction="1.0 0.01 0.001" condim="4" solref="0.01 1" solimp="0.9 0.98 0.001"'
SIDES = ("left", "right")
FINGERS = ("thumb", "index", "middle", "ring", "little")

# Position-actuator gains per block: (kp N m/rad, torque limit N m, joint armature kg m^2).
# Waist and arm must be stiff enough to press on a surface: softer ones sag under contact.
# Hand: a finger whose target lies 0.15 rad behind the contact then presses with 1.5 N m, its limit, which is 17 N at
# the fingertip (0.087 m from the knuckle); hands of this size are sold with 10-20 N. A higher gain turns the same
# error of the target into a crush. The armature keeps the natural frequency at sqrt(10 / 0.0011) = 95 rad/s.
GAINS = {
    "head": (60.0, 20.0, 0.01),
    "waist": (3000.0, 300.0, 0.1),
    "arm": (600.0, 80.0, 0.02),
    "hand": (10.0, 1.5, 0.001),
}

_DESCRIPTION = Path(__file__).parent / "robots" / "iron_r01" / "robot.yaml"

_FINGER_X = {"index": 0.033, "middle": 0.011, "ring": -0.011, "little": -0.033}
FINGER_LENGTH = {"index": (0.045, 0.042), "middle": (0.050, 0.046), "ring": (0.046, 0.043), "little": (0.038, 0.034)}


def home(table: joints.JointTable | None = None):
    """(J,) rad: the pose an episode starts from, elbows bent and hands in front of the chest; see robot.yaml."""
    import numpy as np

    table = table or joints.load()
    q = np.zeros(len(table))
    for name, value in _home().items():
        if name in table.index:
            q[table.index[name]] = value
    return np.clip(q, table.limits.lower, table.limits.upper)


@lru_cache(maxsize=1)
def _home() -> dict[str, float]:
    return description_file.read(_DESCRIPTION).values["home"]


def _joint(table: joints.JointTable, name: str, axis: str) -> str:
    i = table.index[name]
    armature = GAINS[table.blocks[i]][2]
    return (
        f'<joint name="{name}" axis="{axis}" range="{table.limits.lower[i]:g} {table.limits.upper[i]:g}" '
        f'armature="{armature:g}"/>'
    )


def _finger(table: joints.JointTable, side: str, finger: str) -> str:
    flex = "-1 0 0" if side == "left" else "1 0 0"  # positive curls towards the palm on both sides
    proximal, distal = FINGER_LENGTH[finger]
    prefix = f"{side}_{finger}"
    return f"""
<body gravcomp="1" name="{prefix}_proximal" pos="{_FINGER_X[finger]} 0 -0.09">
  {_joint(table, f"{prefix}_splay", "0 1 0")}
  {_joint(table, f"{prefix}_proximal", flex)}
  <geom name="{prefix}_proximal" class="pad" type="capsule" size="0.009" fromto="0 0 0 0 0 {-proximal}" mass="0.02"/>
  <site name="{prefix}_mcp"/>
  <body gravcomp="1" name="{prefix}_distal" pos="0 0 {-proximal}">
    {_joint(table, f"{prefix}_distal", flex)}
    <geom name="{prefix}_distal" class="pad" type="capsule" size="0.008" fromto="0 0 0 0 0 {-distal}" mass="0.015"/>
    <site name="{prefix}_pip"/>
    <site name="{prefix}_dip" pos="0 0 {-distal * 0.55:g}"/>
    <site name="{prefix}_tip" pos="0 0 {-distal}"/>
  </body>
</body>"""


def _thumb(table: joints.JointTable, side: str) -> str:
    inward = -1.0 if side == "left" else 1.0  # y towards the palm's inside
    flex = "-1 0 0" if side == "left" else "1 0 0"
    oppose = "0 0 -1" if side == "left" else "0 0 1"  # positive swings the thumb across the palm
    prefix = f"{side}_thumb"
    return f"""
<body gravcomp="1" name="{prefix}_base" pos="0.035 {0.01 * inward} -0.025">
  {_joint(table, f"{prefix}_abduction", oppose)}
  <site name="{prefix}_cmc"/>
  <geom name="{prefix}_base" class="pad" type="capsule" size="0.011" fromto="0 0 0 0.022 0 -0.020" mass="0.03"/>
  <body gravcomp="1" name="{prefix}_proximal" pos="0.022 0 -0.020" euler="0 -0.7 0">
    {_joint(table, f"{prefix}_proximal", flex)}
    <geom name="{prefix}_proximal" class="pad" type="capsule" size="0.010" fromto="0 0 0 0 0 -0.035" mass="0.02"/>
    <site name="{prefix}_mcp"/>
    <body gravcomp="1" name="{prefix}_distal" pos="0 0 -0.035">
      {_joint(table, f"{prefix}_distal", flex)}
      <geom name="{prefix}_distal" class="pad" type="capsule" size="0.009" fromto="0 0 0 0 0 -0.030" mass="0.015"/>
      <site name="{prefix}_ip"/>
      <site name="{prefix}_tip" pos="0 0 -0.030"/>
    </body>
  </body>
</body>"""


def _arm(table: joints.JointTable, side: str) -> str:
    sign = 1.0 if side == "left" else -1.0
    inward = -sign
    hand = _thumb(table, side) + "".join(_finger(table, side, finger) for finger in FINGERS[1:])
    return f"""
<body gravcomp="1" name="{side}_shoulder" pos="0 {0.20 * sign} 0.36">
  {_joint(table, f"{side}_shoulder_pitch", "0 1 0")}
  <geom name="{side}_shoulder" class="robot" type="sphere" size="0.055" mass="1.2"/>
  <body gravcomp="1" name="{side}_upper_arm" pos="0 {0.03 * sign} 0">
    {_joint(table, f"{side}_shoulder_roll", "1 0 0")}
    {_joint(table, f"{side}_shoulder_yaw", "0 0 1")}
    <geom name="{side}_upper_arm" class="robot" type="capsule" size="0.045" fromto="0 0 -0.05 0 0 -0.25" mass="1.8"/>
    <body gravcomp="1" name="{side}_forearm" pos="0 0 -0.28">
      {_joint(table, f"{side}_elbow", "0 1 0")}
      <site name="{side}_elbow"/>
      <geom name="{side}_forearm" class="robot" type="capsule" size="0.038" fromto="0 0 -0.02 0 0 -0.20" mass="1.2"/>
      <body gravcomp="1" name="{side}_wrist_link" pos="0 0 -0.25">
        {_joint(table, f"{side}_wrist_yaw", "0 0 1")}
        {_joint(table, f"{side}_wrist_pitch", "0 1 0")}
        {_joint(table, f"{side}_wrist_roll", "1 0 0")}
        <site name="{side}_wrist"/>
        <site name="{side}_palm" pos="0 {0.035 * inward} -0.085"/>
        <geom name="{side}_palm" class="pad" type="box" size="0.042 0.014 0.045" pos="0 0 -0.045" mass="0.45"/>
        <camera name="{side}_wrist" pos="0.05 {0.045 * inward:g} 0.03" fovy="80"
          xyaxes="{-inward:g} 0 0 0 {-0.98 * inward:g} -0.2"/>
        {hand}
      </body>
    </body>
  </body>
</body>"""


def _actuators(table: joints.JointTable) -> str:
    lines = []
    for name, block in zip(table.names, table.blocks):
        kp, torque, _ = GAINS[block]
        lines.append(
            f'<position name="{name}" joint="{name}" kp="{kp:g}" dampratio="1" inheritrange="1" '
            f'forcerange="{-torque:g} {torque:g}"/>'
        )
    return "\n".join(lines)


def body_xml(table: joints.JointTable | None = None) -> str:
    """The robot as one `<body name="pelvis">` at the world's origin plus PELVIS_HEIGHT, for `<worldbody>`."""
    table = table or joints.load()
    return f"""
<body gravcomp="1" name="pelvis" pos="0 0 {PELVIS_HEIGHT}">
  <geom name="pelvis" class="robot" type="capsule" size="0.09" fromto="0 -0.07 0 0 0.07 0" mass="8"/>
  <geom name="left_leg" class="robot" type="capsule" size="0.07" fromto="0 0.1 -0.08 0 0.1 -0.86" mass="8"/>
  <geom name="right_leg" class="robot" type="capsule" size="0.07" fromto="0 -0.1 -0.08 0 -0.1 -0.86" mass="8"/>
  <body gravcomp="1" name="waist" pos="0 0 0.10">
    {_joint(table, "waist_yaw", "0 0 1")}
    {_joint(table, "waist_roll", "1 0 0")}
    <geom name="waist" class="robot" type="sphere" size="0.09" mass="3"/>
    <body gravcomp="1" name="torso" pos="0 0 0.02">
      {_joint(table, "waist_pitch", "0 1 0")}
      <site name="chest" pos="0.08 0 0.28"/>
      <geom name="torso_lower" class="robot" type="capsule" size="0.10" fromto="0 -0.05 0.12 0 0.05 0.12" mass="6"/>
      <geom name="torso_upper" class="robot" type="capsule" size="0.11" fromto="0 -0.09 0.30 0 0.09 0.30" mass="9"/>
      {_arm(table, "left")}
      {_arm(table, "right")}
      <body gravcomp="1" name="neck" pos="0 0 0.46">
        {_joint(table, "head_yaw", "0 0 1")}
        {_joint(table, "head_roll", "1 0 0")}
        {_joint(table, "head_pitch", "0 1 0")}
        <site name="head" pos="0.06 0 0.12"/>
        <geom name="neck" class="robot" type="capsule" size="0.04" fromto="0 0 -0.02 0 0 0.06" mass="0.6"/>
        <geom name="head" class="robot" type="ellipsoid" size="0.09 0.08 0.115" pos="0 0 0.14" mass="2.5"/>
        <geom name="visor" class="robot" type="box" size="0.01 0.06 0.025" pos="0.085 0 0.15" rgba="0.05 0.05 0.06
          1" mass="0.1"/>
        <camera name="ego" pos="0.10 0 0.15" xyaxes="0 -1 0 0 0 1" fovy="62"/>
      </body>
    </body>
  </body>
</body>"""


def mjcf(
    table: joints.JointTable | None = None,
    *,
    model: str = "iron_r01",
    assets: str = "",
    world: str = "",
    extra: str = "",
    timestep: float = 0.002,
    visual: str = "",
) -> str:
    """Complete MJCF text: the robot, its 50 position actuators in contract order, and optional scene fragments.

    assets, world, extra: MJCF fragments put into `<asset>`, `<worldbody>` and the root (equalities, contacts,
    sensors). timestep: s. Geoms of class `robot` have contype 2, conaffinity 4: they touch the scene (contype 4,
    conaffinity 2), never each other; self-collision is the command guard's subject and is measured with
    mj_geomDistance.
    """
    table = table or joints.load()
    return f"""<mujoco model="{model}">
<compiler angle="radian" autolimits="true"/>
<option timestep="{timestep:g}" integrator="implicitfast" cone="elliptic" impratio="10"/>
<visual>{visual}</visual>
<default>
  <joint damping="0.05" limited="true"/>
  <site size="0.004" group="4"/>
  <default class="robot">
    <geom contype="2" conaffinity="4" rgba="0.82 0.84 0.87 1" friction="0.9 0.01 0.001"/>
    <default class="pad"><geom {PAD} rgba="0.16 0.18 0.20 1"/></default>
  </default>
</default>
<asset>{assets}</asset>
<worldbody>
{body_xml(table)}
{world}
</worldbody>
<actuator>
{_actuators(table)}
</actuator>
{extra}
</mujoco>
"""
