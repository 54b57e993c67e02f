# SPDX-License-Identifier: Apache-2.0
"""Start stages with a slice in the hand: the hand closes around a slice that is kept still, which is then let go."""

from __future__ import annotations

import numpy as np

from rove_description import mjcf
from rove_description.kinematics import Kinematics, reach_columns, rotation_error, solve
from rove_sim.tasks.toast_bread import layout, pinch

CLOSING_S, SETTLING_S = 0.45, 0.25
ATTEMPTS = 8
_kinematics: dict[tuple, Kinematics] = {}


def place_in_hand(world, rng: np.random.Generator, stage: str) -> None:
    """Put one slice into the closed right hand at the place of `stage`. Raises RuntimeError if no drawn grasp holds."""
    for _ in range(ATTEMPTS):
        chosen = int(rng.integers(layout.SLICES))
        position, yaw = _slice_place(world.layout, rng, stage, chosen)
        if _grasp(world, rng, chosen, position, yaw):
            return
    raise RuntimeError(f"seed {world.seed}: no grasp held the slice in stage {stage!r} in {ATTEMPTS} attempts")


def _slice_place(drawn: layout.Layout, rng: np.random.Generator, stage: str, chosen: int) -> tuple[np.ndarray, float]:
    """Where the middle of the slice is (3,) m, and its yaw."""
    if stage == "grasped":
        rise = [0.0, 0.0, rng.uniform(0.0, 0.03)]
        return drawn.container.point(drawn.compartment(chosen) + rise), drawn.container.yaw
    slot = drawn.slot(int(rng.integers(layout.SLOTS)))
    rim, half = drawn.slot_depth, drawn.slice_half[2]
    if stage == "above_slot":
        x, y = rng.uniform(-0.015, 0.015, 2)
        bottom, turn = rim + rng.uniform(0.02, 0.05), rng.uniform(-0.15, 0.15)
    elif stage == "misaligned":  # the edge a hair above the lip, beside the slot: pushing on from here fails
        x, y = rng.uniform(-0.006, 0.006), rng.choice([-1.0, 1.0]) * rng.uniform(0.006, 0.011)
        bottom, turn = rim + 0.002, rng.choice([-1.0, 1.0]) * rng.uniform(0.04, 0.15)
    else:
        x, y = rng.uniform(-0.003, 0.003), 0.0
        bottom, turn = rim * rng.uniform(0.4, 0.75), 0.0
    return slot.point([x, y, bottom + half]), slot.yaw + turn


def _grasp(world, rng: np.random.Generator, chosen: int, position: np.ndarray, yaw: float) -> bool:
    kinematics = _kinematics.setdefault(world.table.names, Kinematics(world.table))
    rotation = layout.Place(position, yaw).rotation
    normal, up = pinch.face_axes(rotation)
    turn = pinch.hand_rotation(normal, up)
    spread = np.array([rng.uniform(-0.008, 0.008), rng.uniform(-0.004, 0.004)])
    point = pinch.pinch_point(position, up, world.layout.slice_half[2]) + spread[0] * rotation[:, 0] + spread[1] * up
    columns, cost = reach_columns(world.table)
    home = mjcf.home(world.table)
    q = solve(
        kinematics,
        home,
        "right_wrist",
        point - turn @ pinch.PINCH,
        turn,
        columns,
        home,
        iterations=120,
        joint_cost=cost,
    )
    kinematics.forward(q)
    reached = kinematics.position("right_wrist") + kinematics.rotation("right_wrist") @ pinch.PINCH
    turned = np.linalg.norm(rotation_error(turn, kinematics.rotation("right_wrist")))
    if np.linalg.norm(reached - point) > 0.004 or turned > 0.05:
        return False
    fingers = [(world.table.index[f"right_{name}"], name) for name in pinch.OPEN_HAND]
    for i, name in fingers:
        q[i] = pinch.OPEN_HAND[name]
    world.set_pose(q)
    world.place_in_container(rng)
    steps = round(CLOSING_S / 0.01)
    for step in range(steps):
        share = min(1.0, 1.5 * (step + 1) / steps)
        for i, name in fingers:
            q[i] = pinch.OPEN_HAND[name] + share * (pinch.CLOSED_HAND[name] - pinch.OPEN_HAND[name])
        world.data.ctrl[:] = q
        world.place_body(f"slice_{chosen}", position, rotation)
        world.settle(0.01)
    world.settle(SETTLING_S)
    forces = world.forces()[chosen]
    return bool(forces[0] > 0.5 and forces[1] > 0.5)
