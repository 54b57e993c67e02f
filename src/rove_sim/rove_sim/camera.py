# SPDX-License-Identifier: Apache-2.0
"""Pictures of the simulated scene. Has its own MjData, so that a thread can draw a snapshot while physics goes on."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np


class Camera:
    """Draws (H, W, 3) uint8 RGB; the GL context is made on the first call of `render`, in the calling thread.

    model: shared with the physics, which changes colours and textures in it. size: (H, W) pixels. A texture whose
    pixels changed in the model is sent to the GL context when its number in `texture_versions` differs from the one
    drawn last.
    """

    def __init__(self, model: mujoco.MjModel, size: tuple[int, ...]):
        self.model = model
        self.size = size
        self.data = mujoco.MjData(model)
        self.texture_versions: dict[int, int] = {}  # texture id -> counter of changes
        self.before_drawing: Callable[[], None] = lambda: None  # brings textures up to date
        self._drawn: dict[int, int] = {}
        self._renderer: mujoco.Renderer | None = None
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0

    def render(self, qpos: np.ndarray, camera: str = "ego") -> np.ndarray:
        """qpos: MuJoCo's generalised positions (nq,). camera: "ego", "left_wrist", "right_wrist" or "third"."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self.model, *self.size)
            self._drawn = {}
        self.before_drawing()
        for texture, version in self.texture_versions.items():
            if self._drawn.get(texture) != version:
                self._renderer._gl_context.make_current()
                mujoco.mjr_uploadTexture(self.model, self._renderer._mjr_context, texture)
                self._drawn[texture] = version
        self.data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self._renderer.update_scene(self.data, camera, self._option)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the GL context; call in the thread that rendered."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
