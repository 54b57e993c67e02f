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
from rove_description import joints, mjcf
from rove_teleop.practice.practice import Scene
from rove_teleop.retargeting.intake import LIMITED, OK

COLOURS = {OK: (*rgb("good"), 1.0), LIMITED: (*rgb("warn"), 1.0)}  # of the operator's lines, by the part's state
ROBOT = np.array([0.70, 0.74, 0.80, 0.45])  # the operator's bones shine through
HELD = np.array([0.90, 0.25, 0.25, 0.7])  # robot links whose part holds
RADIUS_M, FINGER_RADIUS_M = 0.012, 0.0045
WORLD = """
<geom name="floor" type="plane" size="6 6 0.1" material="floor"/>
<light pos="1.5 1 3" dir="-0.5 -0.3 -1" diffuse="0.5 0.5 0.5" castshadow="false"/>
"""
ASSETS = """
<texture name="sky" type="skybox" builtin="gradient" rgb1="0.13 0.17 0.22" rgb2="0.05 0.07 0.09" width="64"
  height="384"/>
<texture name="floor" type="2d" builtin="checker" rgb1="0.10 0.12 0.15" rgb2="0.14 0.17 0.20" width="128" height="128"/>
<material name="floor" texture="floor" texrepeat="12 12" specular="0" shininess="0"/>
"""
# Multisampling and shadows cost most of the time of a software renderer.
VISUAL = """<global offwidth="1920" offheight="1440"/><quality shadowsize="0" offsamples="0"/>
<headlight ambient="0.42 0.42 0.42" diffuse="0.35 0.35 0.35" specular="0 0 0"/><map znear="0.02" zfar="20"/>"""


@dataclass(frozen=True)
class View:
    """Camera on a sphere around the chest. azimuth, elevation: degrees, azimuth 180 looks at the robot's face.
    distance: m.
    """

    azimuth: float = 155.0
    elevation: float = -14.0
    distance: float = 1.7


def _part(body: str) -> str | None:
    """Body of the robot -> the operator's part that moves it."""
    if body == "neck":
        return "head"
    if body in ("waist", "torso"):
        return "chest"
    side, _, rest = body.partition("_")
    if side not in mjcf.SIDES:
        return None
    return f"{side}_wrist" if rest in ("shoulder", "upper_arm", "forearm", "wrist_link") else f"{side}_hand"


class Picture:
    """size: (width, height) pixels. The GL context belongs to the thread of the first `draw`; draw and close there
    only.
    """

    def __init__(self, table: joints.JointTable, size: tuple[int, int]):
        self.size = size
        self.model = mujoco.MjModel.from_xml_string(mjcf.mjcf(table, assets=ASSETS, world=WORLD, visual=VISUAL))
        self.data = mujoco.MjData(self.model)
        self._qpos = np.array([self.model.joint(name).qposadr[0] for name in table.names])
        parts = [_part(self.model.body(body).name) for body in self.model.geom_bodyid]
        self._links: dict[str, list[int]] = {}
        for geom, part in enumerate(parts):
            if part is not None and self.model.geom(geom).name != "visor":
                self._links.setdefault(part, []).append(geom)
        self.model.geom_rgba[[g for g, body in enumerate(self.model.geom_bodyid) if body]] = ROBOT
        self._camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(self.model, self._camera)
        self._camera.lookat = [0.12, 0.0, mjcf.PELVIS_HEIGHT + 0.32]
        self._renderer: mujoco.Renderer | None = None

    def draw(self, scene: Scene, view: View) -> np.ndarray:
        """-> (H, W, 3) uint8 RGB."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self.model, self.size[1], self.size[0])
        for part, links in self._links.items():
            self.model.geom_rgba[links] = ROBOT if scene.states.get(part, OK) in COLOURS else HELD
        self.data.qpos[self._qpos] = scene.q
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self._camera.azimuth, self._camera.elevation, self._camera.distance = (
            view.azimuth,
            view.elevation,
            view.distance,
        )
        self._renderer.update_scene(self.data, self._camera)
        pelvis = self.data.body("pelvis").xpos
        for part, points in scene.lines:
            colour = np.array(COLOURS.get(scene.states.get(part), COLOURS[OK]), dtype=np.float32)
            self._polyline(np.array(points) + pelvis, FINGER_RADIUS_M if part.endswith("_hand") else RADIUS_M, colour)
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
