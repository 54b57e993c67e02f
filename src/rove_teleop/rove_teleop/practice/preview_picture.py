# SPDX-License-Identifier: Apache-2.0
"""The preview's picture: the robot by forward kinematics and the operator's skeleton over it, drawn by MuJoCo
offscreen.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from rove_contract import images
from rove_contract.web.palette import rgb
from rove_description import robot
from rove_description.kinematics import Kinematics
from rove_description.robot import Robot
from rove_teleop.practice.practice import Scene
from rove_teleop.retargeting.intake import LIMITED, OK

COLOURS = {OK: (*rgb("good"), 1.0), LIMITED: (*rgb("warn"), 1.0)}  # of the operator's lines, by the part's state
ROBOT = np.array([0.70, 0.74, 0.80, 0.45])  # the operator's bones shine through
HELD = np.array([0.90, 0.25, 0.25, 0.7])  # robot links whose part holds
RADIUS_M, FINGER_RADIUS_M = 0.012, 0.0045
CHEST = np.array([0.12, 0.0, -0.16])  # m, from between the shoulders: what the camera turns around
LARGEST = (1920, 1440)  # pixels


@dataclass(frozen=True)
class View:
    """Camera on a sphere around the chest. azimuth, elevation: degrees, azimuth 180 looks at the robot's face.
    distance: m.
    """

    azimuth: float = 155.0
    elevation: float = -14.0
    distance: float = 1.7


PART_OF = {
    "head": "head",
    "waist": "chest",
    "arm": "{side}_wrist",
    "hand": "{side}_hand",
    "end_effector": "{side}_hand",
}


def _parts(described: Robot) -> list[str | None]:
    """Of each body of the robot the operator's part that moves it: that of the nearest joint on the way to the base."""
    table, model = described.table, described.model
    found: list[str | None] = [None] * model.nbody
    for body in range(1, model.nbody):
        first, parent = int(model.body_jntadr[body]), int(model.body_parentid[body])
        names = [model.joint(first + k).name for k in range(int(model.body_jntnum[body]))]
        own = [table.index[name] for name in names if name in table.index]
        if own:
            found[body] = PART_OF.get(table.blocks[own[-1]], "").format(side=table.sides[own[-1]]) or None
        else:
            found[body] = found[parent]
    return found


def _in_a_room(described: Robot) -> mujoco.MjModel:
    """The robot's model with floor, sky and light, and as little shading as a software renderer needs."""
    spec, kind = robot.spec(described), mujoco.mjtTexture
    spec.add_texture(
        name="rove_sky",
        type=kind.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.13, 0.17, 0.22],
        rgb2=[0.05, 0.07, 0.09],
        width=64,
        height=384,
    )
    spec.add_texture(
        name="rove_floor",
        type=kind.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.10, 0.12, 0.15],
        rgb2=[0.14, 0.17, 0.20],
        width=128,
        height=128,
    )
    floor = spec.add_material(name="rove_floor", texrepeat=[12, 12], specular=0, shininess=0)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "rove_floor"
    spec.worldbody.add_geom(
        name="rove_floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[6, 6, 0.1], material="rove_floor"
    )
    spec.worldbody.add_light(pos=[1.5, 1, 3], dir=[-0.5, -0.3, -1], diffuse=[0.5] * 3, castshadow=False)
    model = spec.compile()
    visual = model.vis
    visual.global_.offwidth, visual.global_.offheight = LARGEST
    visual.quality.shadowsize = visual.quality.offsamples = 0
    visual.headlight.ambient[:], visual.headlight.diffuse[:], visual.headlight.specular[:] = 0.42, 0.35, 0.0
    visual.map.znear, visual.map.zfar = 0.02 / model.stat.extent, 20.0 / model.stat.extent
    return model


class Picture:
    """size: (width, height) pixels. The GL context belongs to the thread of the first `draw`; draw and close there
    only.
    """

    def __init__(self, described: Robot, size: tuple[int, int]):
        self.size = size
        self.model = _in_a_room(described)
        self._kinematics = Kinematics(described.table, self.model, described.base)
        self.data = self._kinematics.data
        parts = _parts(described)
        self._links: dict[str, list[int]] = {}
        for geom, body in enumerate(self.model.geom_bodyid):
            part = parts[body] if body else None
            if part is not None and self.model.geom(geom).name != "visor":
                self._links.setdefault(part, []).append(geom)
        own = np.flatnonzero((self.model.geom_bodyid > 0) & (self.model.geom_rgba[:, 3] > 0.0))
        self.model.geom_matid[own] = -1
        self.model.geom_rgba[own] = ROBOT
        self._links = {part: [g for g in geoms if g in set(own.tolist())] for part, geoms in self._links.items()}
        self._camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(self.model, self._camera)
        self._kinematics.forward(described.home)
        shoulders = [self.data.xanchor[self._kinematics.joint_ids[arm.joints[0]]] for arm in described.arms.values()]
        self._camera.lookat = np.mean(shoulders or [self._kinematics.origin], axis=0) + CHEST
        self._renderer: mujoco.Renderer | None = None

    def draw(self, scene: Scene, view: View) -> np.ndarray:
        """-> (H, W, 3) uint8 RGB."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self.model, self.size[1], self.size[0])
        for part, links in self._links.items():
            self.model.geom_rgba[links] = ROBOT if scene.states.get(part, OK) in COLOURS else HELD
        self._kinematics.forward(scene.q)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self._camera.azimuth, self._camera.elevation, self._camera.distance = (
            view.azimuth,
            view.elevation,
            view.distance,
        )
        self._renderer.update_scene(self.data, self._camera)
        base = self._kinematics.origin
        for part, points in scene.lines:
            colour = np.array(COLOURS.get(scene.states.get(part), COLOURS[OK]), dtype=np.float32)
            self._polyline(np.array(points) + base, FINGER_RADIUS_M if part.endswith("_hand") else RADIUS_M, colour)
        return self._renderer.render()

    def _polyline(self, points: np.ndarray, radius: float, colour: np.ndarray) -> None:
        scene = self._renderer.scene
        for a, b in zip(points[:-1], points[1:]):
            if scene.ngeom >= scene.maxgeom or not np.isfinite([a, b]).all():
                return
            geom = scene.geoms[scene.ngeom]
            mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, np.zeros(3), np.zeros(3), np.zeros(9), colour)
            mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, radius, a, b)
            geom.emission = 0.5  # readable in front of a grey robot
            scene.ngeom += 1

    def jpeg(self, scene: Scene, view: View) -> bytes:
        """`draw`, encoded."""
        return images.encode_jpeg(self.draw(scene, view), 82)

    def close(self) -> None:
        """Free the GL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
