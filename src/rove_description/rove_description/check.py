# SPDX-License-Identifier: Apache-2.0
"""What a robot description says, as ROVE understands it: joints per block and side, frames, chains, cameras, guarded
pairs, and what is missing. With --picture the home pose is drawn.

    rove run rove_description check iron_r01
    rove run rove_description check path/to/folder --picture home.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mujoco
import numpy as np

from rove_description import collision, robot
from rove_description.description_file import SIDES, RobotError
from rove_description.kinematics import Kinematics

PICTURE = (960, 720)  # pixels


def describe(found: robot.Robot) -> list[str]:
    """Lines of text, one subject each."""
    table, lines = found.table, [f"{found.name}: {len(found.table)} joints, hash {found.hash}, {found.folder}"]
    for block in table.blocks_present():
        for side in ("", *SIDES):
            names = [table.names[i] for i in table.indices(block, side)]
            if names:
                lines.append(f"{block}{' ' + side if side else ''}: {len(names)} joints: {', '.join(names)}")
    for i in sorted(table.slides):
        lower, upper, speed = (values[i] for values in (table.limits.lower, table.limits.upper, table.limits.velocity))
        lines.append(f"{table.names[i]} slides: {lower:g} to {upper:g} m, at most {speed:g} m/s")
    lines.append(f"frames: base {found.base}, head {found.head or 'none'}, chest {found.chest or 'none'}")
    for side, arm in found.arms.items():
        lines.append(f"{side} arm: elbow {arm.elbow or 'none'}, wrist {arm.wrist}, palm {arm.palm}")
        for name, finger in arm.fingers.items():
            lines.append(
                f"{side} {name}: {finger.base} - {finger.middle} - {finger.tip}, follows a person's {finger.person}"
            )
    for name, camera in found.cameras.items():
        seen = [who for who, sees in (("policy", camera.policy), ("critic", camera.critic)) if sees]
        lines.append(
            f"camera {name}: {camera.width} x {camera.height} at {camera.rate_hz:g} Hz on {camera.topic}, seen by "
            f"{' and '.join(seen) or 'nobody'}"
        )
    for name, depth in found.sensors.depth.items():
        lines.append(
            f"depth camera {name}: {depth.width} x {depth.height} at {depth.rate_hz:g} Hz on {depth.topic} "
            f"({depth.type}), recorded and exported"
        )
    for name, array in found.sensors.tactile.items():
        lines.append(
            f"tactile array {name}: {array.size} values at {array.rate_hz:g} Hz on {array.topic} ({array.type}), "
            f"recorded and exported"
        )
    kinematics = Kinematics(table, found.model, found.base)
    pairs = collision.guarded_pairs(kinematics, found.home, found.guard_ignore)
    geoms = collision.link_geoms(found.model, found.base)
    lines.append(f"guard: {len(pairs)} pairs of {len(geoms)} links kept {1e3 * found.guard_margin_m:g} mm apart")
    return lines


def missing(found: robot.Robot) -> list[str]:
    """What ROVE can do without, and what it then does not do."""
    lines = []
    if not found.head:
        lines.append("no head frame: the operator's head moves nothing")
    if not found.chest:
        lines.append("no chest frame: the operator's trunk moves nothing")
    for side in SIDES:
        arm = found.arms.get(side)
        if arm is None:
            lines.append(f"no {side} arm")
            continue
        if not arm.elbow:
            lines.append(f"no {side} elbow frame: the operator's elbow is no hint")
        if not len(arm.hand):
            lines.append(f"no {side} hand joints: the operator's hand moves nothing")
        elif not arm.fingers:
            lines.append(f"no {side} fingers: the hand opens and closes as a gripper")
        if len(arm.hand) and np.array_equal(arm.open, arm.closed):
            lines.append(f"the {side} hand's open and closed poses are the same")
    if not found.cameras:
        lines.append("no cameras: no policy can see")
    kinematics = Kinematics(found.table, found.model, found.base)
    if not collision.guarded_pairs(kinematics, found.home, found.guard_ignore):
        lines.append("no pairs for the guard: the command filter refuses to start with it")
    return lines


def draw(found: robot.Robot) -> np.ndarray:
    """(720, 960, 3) uint8 RGB: the robot at home, from in front and beside."""
    model, (width, height) = found.model, PICTURE
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    kinematics = Kinematics(found.table, model, found.base)
    kinematics.forward(found.home)
    mujoco.mj_forward(model, kinematics.data)
    camera = mujoco.MjvCamera()
    places = kinematics.data.geom_xpos[model.geom_group < 3]
    places = places if len(places) else kinematics.data.xpos
    middle = 0.5 * (places.min(0) + places.max(0))
    camera.lookat[:] = middle
    camera.distance = 0.6 + 2.4 * float(np.linalg.norm(places - middle, axis=1).max())
    camera.azimuth, camera.elevation = 150.0, -12.0
    model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = 0.4, 0.5
    with mujoco.Renderer(model, height, width) as renderer:
        renderer.update_scene(kinematics.data, camera)
        return renderer.render()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("robot", help="name of a robot of ROVE, or a folder with robot.yaml")
    parser.add_argument("--picture", type=Path, help="where the home pose is drawn (PNG)")
    options = parser.parse_args()
    try:
        found = robot.load(options.robot)
    except RobotError as error:
        parser.exit(2, f"{error}\n")
    print("\n".join(describe(found)))
    gaps = missing(found)
    print("\n".join(f"missing: {line}" for line in gaps) if gaps else "nothing is missing")
    if options.picture is not None:
        import cv2

        if not cv2.imwrite(str(options.picture), draw(found)[:, :, ::-1]):
            parser.exit(2, f"{options.picture}: expected a place that can be written\n")
        print(options.picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
