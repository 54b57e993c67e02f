# SPDX-License-Identifier: Apache-2.0
"""Which trials need more than the arm: a head that looks for the strokes, a waist that leans or turns.

    python -m rove_sim.tasks.erase_whiteboard.needs --seeds 200

Prints the shares of trials (start stage `start`) and one JSON line.
"""

from __future__ import annotations

import argparse
import json

import mujoco
import numpy as np

from rove_description import mjcf
from rove_description.kinematics import Kinematics, solve
from rove_sim.tasks.erase_whiteboard import grasp
from rove_sim.tasks.erase_whiteboard.board import FACE
from rove_sim.tasks.erase_whiteboard.sweep import turn_at
from rove_sim.tasks.erase_whiteboard.world import WhiteboardWorld

OUT_OF_REACH = 0.03  # m that the arm alone lacks: half the felt's width


def strokes_of(world: WhiteboardWorld) -> list[np.ndarray]:
    """Per stroke (n, 3) m, pelvis frame: its cells."""
    ink, board = world.ink, world.board
    places = []
    for stroke in range(int(ink.stroke.max()) + 1):
        rows, columns = np.nonzero(ink.stroke == stroke)
        places.append(
            board.centre + np.outer(ink.u[columns], board.axes[:, 0]) + np.outer(ink.v[rows], board.axes[:, 1])
        )
    return places


def needs_head(world: WhiteboardWorld) -> bool:
    """Whether more than half of some stroke is outside the first ego picture."""
    mujoco.mj_forward(world.model, world.data)
    camera = world.data.cam("ego")
    origin, axes = camera.xpos - [0.0, 0.0, mjcf.PELVIS_HEIGHT], camera.xmat.reshape(3, 3)
    half = np.tan(np.radians(world.model.cam_fovy[world.model.camera("ego").id]) / 2)
    for places in strokes_of(world):
        x, y, z = ((places - origin) @ axes).T
        if np.mean(np.maximum(np.abs(x), np.abs(y)) < -z * half) < 0.5:
            return True
    return False


def needs_waist(world: WhiteboardWorld, kinematics: Kinematics) -> bool:
    """Whether the arm alone cannot bring the felt to the middle of some stroke."""
    home, arm = mjcf.home(world.table), world.table.indices("arm", "right")
    u_axis, v_axis, n_axis = world.board.axes.T
    for places in strokes_of(world):
        middle = places.mean(axis=0)
        psi = turn_at(float(world.board.coordinates(middle)[0]))
        fingers = np.cos(psi) * v_axis - np.sin(psi) * u_axis
        hand = np.stack([np.cross(n_axis, fingers), -n_axis, -fingers], axis=1)
        wrist = middle - hand @ (grasp.ERASER_IN_HAND + [0.0, FACE, 0.0])
        q = solve(kinematics, home, "right_wrist", wrist, hand, arm, home, iterations=60)
        kinematics.forward(q)
        if np.linalg.norm(kinematics.position("right_wrist") - wrist) > OUT_OF_REACH:
            return True
    return False


def measure_needs(seeds: range) -> dict[str, float]:
    """Shares of these seeds' trials that need the head, the waist, and both."""
    world, kinematics = WhiteboardWorld(32, seeds[0]), Kinematics()
    needs = []
    for seed in seeds:
        world.reset(seed)
        needs.append((needs_head(world), needs_waist(world, kinematics)))
    head, waist = np.array(needs).T
    return {"head": float(head.mean()), "waist": float(waist.mean()), "both": float((head & waist).mean())}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    shares = measure_needs(range(parser.parse_args().seeds))
    for need, share in shares.items():
        print(f"{need}: needed in {100 * share:.0f} % of the trials")
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
