# SPDX-License-Identifier: Apache-2.0
"""Writes a drawn `Layout` into the compiled model: sizes and places of container, toaster, slices; masses; colours."""

from __future__ import annotations

import numpy as np

from rove_description import mjcf
from rove_sim.tasks.toast_bread import layout
from rove_sim.tasks.toast_bread.layout import LIP, RAIL, SLICES, SLOTS, Layout

TABLE_AT = np.array([0.66, 0.0])  # m, where the table's body stands: its near edge is 24 cm before the pelvis


def write(world, drawn: Layout) -> None:
    """Make the `World`'s model look as drawn; call it from `vary`, which the world follows with mj_setConst."""
    height = drawn.container.position[2]
    _stand(world, "table", layout.Place(np.append(TABLE_AT, height), 0.0))
    _write_container(world, drawn)
    _write_toaster(world, drawn)
    for i in range(SLICES):
        _write_slice(world, drawn, i)
    for material, colour in drawn.colours.items():
        world.model.mat_rgba[world.model.material(material).id] = colour


def _write_slice(world, drawn: Layout, i: int) -> None:
    model, half = world.model, drawn.slice_half
    world.resize(f"slice_{i}", half)
    world.resize(f"crumb_{i}", half + [-0.005, 0.0003, -0.005])  # 0.3 mm proud, or the crust would hide it
    body, (width, thickness, height) = model.body(f"slice_{i}").id, 2.0 * half
    squares = [thickness**2 + height**2, width**2 + height**2, width**2 + thickness**2]
    model.body_mass[body] = drawn.mass
    model.body_inertia[body] = drawn.mass / 12.0 * np.array(squares)
    model.geom_friction[model.geom(f"slice_{i}").id, 0] = drawn.friction


def _write_container(world, drawn: Layout) -> None:
    _stand(world, "container", drawn.container)
    gap = drawn.slice_half[1] + drawn.rack_spare / 2 + RAIL
    for i in range(SLICES):
        middle = drawn.compartment(i)[1]
        for side, y in (("near", middle - gap), ("far", middle + gap)):
            for level, z in zip(("low", "high"), layout.RAIL_HEIGHTS):
                _place_capsule(world, f"rail_{i}_{side}_{level}", [0.0, y, z])


def _write_toaster(world, drawn: Layout) -> None:
    _stand(world, "toaster", drawn.toaster)
    length, width = drawn.slot_half_length, drawn.slot_width
    floor, top = layout.SLOT_FLOOR, layout.TOASTER_TOP
    half = drawn.slot_offset(1) + width / 2 + layout.OUTER_WALL
    ends = layout.END_WALL / 2
    world.resize("toaster_base", [length + 2 * ends, half, floor / 2], [0, 0, floor / 2])
    wall = np.array([length, 0.0, (top - LIP - floor) / 2])  # the lips' round tops finish the walls
    middle = floor + wall[2]
    world.resize("toaster_middle", wall + [0, layout.MIDDLE_WALL / 2, 0], [0, 0, middle])
    for side, sign in (("near", -1), ("far", 1)):
        y = sign * (half - layout.OUTER_WALL / 2)
        world.resize(f"toaster_{side}", wall + [0, layout.OUTER_WALL / 2, 0], [0, y, middle])
    for side, sign in (("left", 1), ("right", -1)):
        x = sign * (length + ends)
        world.resize(f"toaster_{side}", [ends, half, (top - floor) / 2], [x, 0, (top + floor) / 2])
    for slot in range(SLOTS):
        y = drawn.slot_offset(slot)
        world.resize(f"well_{slot}", [length, width / 2, 0.0005], [0, y, floor])
        for side, sign in (("near", -1), ("far", 1)):
            _place_capsule(world, f"lip_{slot}_{side}", [0.0, y + sign * (width / 2 + LIP), top - LIP], length)
    world.model.geom_pos[world.model.geom("lever").id] = [length + 2 * ends + 0.006, 0.0, 0.07]


def _place_capsule(world, geom: str, position, half_length: float | None = None) -> None:
    """Move a capsule in its body and change its half-length, without the round ends; broad-phase bounds follow."""
    model, i = world.model, world.model.geom(geom).id
    model.geom_pos[i] = position
    if half_length is not None:
        radius = model.geom_size[i, 0]
        model.geom_size[i, 1] = half_length
        model.geom_rbound[i] = half_length + radius
        model.geom_aabb[i, 3:] = [radius, radius, half_length + radius]


def _stand(world, body: str, place: layout.Place) -> None:
    i = world.model.body(body).id
    world.model.body_pos[i] = place.position + [0.0, 0.0, mjcf.PELVIS_HEIGHT]
    world.model.body_quat[i] = [np.cos(place.yaw / 2), 0.0, 0.0, np.sin(place.yaw / 2)]
