# SPDX-License-Identifier: Apache-2.0
"""Sizes and places of one episode of "put the bread into the toaster", and the frames that follow from them.

Metres and radians, pelvis frame. Container and toaster have frames with x along a slice's width, y along its thickness
and away from the robot, z up; their origins stand on the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SLICES, SLOTS = 2, 2
PITCH = 0.066  # between the slices in the container: thumb and fingers, 18 mm each, fit between two slices of 12 mm
RAIL, RAIL_HEIGHTS = 0.003, (0.025, 0.052)  # radius; a slice of 100 mm stands 55 mm proud of the upper rail
CONTAINER_FLOOR = 0.010
ASIDE = 0.004  # a slice stands this far along its compartment, at most; 5 mm are free
SLOT_FLOOR, TOASTER_TOP = 0.048, 0.100  # an inserted slice stands 48 mm proud: the fingers do not reach the toaster
LIP = 0.006  # radius: the flare of a slot takes a slice that is off by up to about this and half the clearance
MIDDLE_WALL = 0.018  # between the slots
OUTER_WALL = 0.028
END_WALL = 0.030
SLOT_SPARE = 0.012  # at each end of a slot, beside the slice
OVER_TOASTER = (0.06, 0.05)  # half sizes: the lower edge of a slice that is being inserted is within


@dataclass(frozen=True)
class Place:
    """Position (3,) m and yaw rad of something that stands on the table."""

    position: np.ndarray
    yaw: float

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3), its frame -> pelvis frame."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def point(self, local) -> np.ndarray:
        """Local (3,) m -> pelvis frame."""
        return self.position + self.rotation @ np.asarray(local, dtype=float)


@dataclass(frozen=True)
class Layout:
    """What a seed draws.

    slice_half: (3,) half width, thickness, height. clearance: slot width less slice thickness. rack_spare: the same of
    the container's compartments. mass: kg of a slice. friction: of bread. colours: material -> (4,) RGBA.
    """

    slice_half: np.ndarray
    clearance: float
    rack_spare: float
    mass: float
    friction: float
    container: Place
    toaster: Place
    colours: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def slot_width(self) -> float:
        """Width of a slot between its walls."""
        return 2.0 * self.slice_half[1] + self.clearance

    @property
    def slot_half_length(self) -> float:
        """Half the length of a slot."""
        return self.slice_half[0] + SLOT_SPARE

    @property
    def slot_depth(self) -> float:
        """From the toaster's top down to a slot's floor."""
        return TOASTER_TOP - SLOT_FLOOR

    def slot_offset(self, slot: int) -> float:
        """y of a slot's middle in the toaster's frame; slot 0 is the near one."""
        return (slot - 0.5) * (MIDDLE_WALL + self.slot_width)

    def slot(self, slot: int) -> Place:
        """Frame of a slot: origin in the middle of its floor."""
        return Place(self.toaster.point([0.0, self.slot_offset(slot), SLOT_FLOOR]), self.toaster.yaw)

    def compartment(self, i: int) -> np.ndarray:
        """(3,) where the middle of slice i stands in the container, container's frame; slice 0 is the near one."""
        return np.array([0.0, (i - (SLICES - 1) / 2) * PITCH, CONTAINER_FLOOR + self.slice_half[2] + 0.001])


# Difficulty: what the task is specified with. docs/results/tasks.md has the expert's success at it.
CLEARANCE = (0.004, 0.006)
PLACE_SPREAD = np.array([0.03, 0.03])  # around the nominal place, x and y
YAW, YAW_SPREAD = -1.32, 0.20  # the right hand's comfortable direction is 0.25 rad to the left; -pi/2 faces the robot
CONTAINER, TOASTER = np.array([0.40, -0.31]), np.array([0.44, -0.03])
TABLE, TABLE_SPREAD = -0.02, 0.015  # height of the table's top above the pelvis


def _colour(rng: np.random.Generator, *rgb: float, spread: float) -> np.ndarray:
    varied = np.array(rgb) * rng.uniform(1 - spread, 1 + spread) + rng.uniform(-0.04, 0.04, 3)
    return np.append(np.clip(varied, 0.0, 1.0), 1.0)


def draw(rng: np.random.Generator) -> Layout:
    """The layout of one episode."""
    half = np.array([rng.uniform(0.047, 0.052), rng.uniform(0.0055, 0.0065), rng.uniform(0.048, 0.052)])
    table = TABLE + rng.uniform(-TABLE_SPREAD, TABLE_SPREAD)

    def place(nominal: np.ndarray) -> Place:
        x, y = nominal + rng.uniform(-1.0, 1.0, 2) * PLACE_SPREAD
        return Place(np.array([x, y, table]), YAW + rng.uniform(-YAW_SPREAD, YAW_SPREAD))

    metal = rng.uniform(0.35, 0.9)
    return Layout(
        slice_half=half,
        clearance=rng.uniform(*CLEARANCE),
        rack_spare=rng.uniform(0.004, 0.006),
        mass=rng.uniform(0.025, 0.060),
        friction=rng.uniform(0.55, 0.85),
        container=place(CONTAINER),
        toaster=place(TOASTER),
        colours={
            "table": _colour(rng, 0.62, 0.48, 0.36, spread=0.35),
            "toaster": _colour(rng, metal, metal, metal, spread=0.1),
            "container": _colour(rng, 0.7, 0.7, 0.68, spread=0.3),
            "crumb": _colour(rng, 0.93, 0.83, 0.62, spread=0.1),
            "crust": _colour(rng, 0.62, 0.40, 0.20, spread=0.3),
        },
    )
