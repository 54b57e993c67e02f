# SPDX-License-Identifier: Apache-2.0
"""Pictures of a world for people: the robot in its shell, soft shadows, smooth edges. For documents, reports and views.

They are drawn from a model of their own, so that physics and what a policy's cameras see stay as they are, to the last
bit. The body under the shell has the same joints; sizes, colours, lamps and textures follow the world's.
"""

from __future__ import annotations

import numpy as np

from rove_description import shell
from rove_sim.camera import Camera
from rove_sim.world import World

SIZE = 384  # px of a picture for people
SOFT = 6  # lamps in the place of one: what a soft shadow takes, in pictures that nobody waits for
LAMP_M = 0.09  # radius of such a lamp
BRIGHTER = 1.25  # than for a policy's cameras: shadows take light away
_GEOM = ("matid", "rgba", "size", "pos", "quat", "rbound")
_SAME = ("body_pos", "body_quat", "cam_pos", "cam_quat", "cam_fovy")


class Portrait(Camera):
    """size: pixels, square, or (H, W). lamps: pictures with as many places of the key lamp make up one, so that
    shadows have soft edges; the time of a picture grows alike.
    """

    def __init__(self, world: World, size: int | tuple[int, int] = SIZE, lamps: int = 1):
        self.world = world
        spec = world.build()
        shell.dress(spec)
        quality = spec.visual.quality
        quality.shadowsize, quality.offsamples = 2048, 4
        quality.numslices, quality.numstacks, quality.numquads = 32, 20, 4
        spec.visual.map.shadowclip, spec.visual.map.shadowscale = 2.0, 0.8
        spec.light("key").castshadow = True
        height, width = (size, size) if isinstance(size, int) else size
        spec.visual.global_.offheight, spec.visual.global_.offwidth = height, width
        super().__init__(spec.compile(), (height, width))
        self.texture_versions = world.camera.texture_versions
        self.before_drawing = self._follow
        model = self.model
        self._geoms = np.concatenate(
            [model.body_geomadr[b] + np.arange(world.model.body_geomnum[b]) for b in range(model.nbody)]
        ).astype(int)  # shells come last in each body
        self._key = model.light("key").id
        turn = np.arange(lamps) * 2.399963  # the golden angle spreads points over a disc
        radius = LAMP_M * np.sqrt((np.arange(lamps) + 0.5) / lamps) if lamps > 1 else np.zeros(1)
        self._lamps = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.zeros(lamps)], axis=1)

    def _follow(self) -> None:
        """What has changed in the world's model."""
        self.world.camera.before_drawing()
        drawn, model = self.world.model, self.model
        for field in _GEOM:
            getattr(model, f"geom_{field}")[self._geoms] = getattr(drawn, f"geom_{field}")
        for field in _SAME:
            getattr(model, field)[:] = getattr(drawn, field)
        model.mat_rgba[: drawn.nmat] = drawn.mat_rgba
        model.tex_data[: len(drawn.tex_data)] = drawn.tex_data
        model.vis.headlight.ambient[:] = BRIGHTER * drawn.vis.headlight.ambient
        model.light_diffuse[:] = BRIGHTER * drawn.light_diffuse
        bare = self.world.embodiment is not None  # a person's arms, not the robot's
        self._option.geomgroup[shell.SHELL_GROUP], self._option.geomgroup[shell.BARE_GROUP] = not bare, bare

    def render(self, qpos: np.ndarray | None = None, camera: str = "third") -> np.ndarray:
        """(H, W, 3) uint8 RGB of a camera of `rove_sim.world.CAMERAS`. qpos: (nq,) as MuJoCo's; None: the world's."""
        qpos = self.world.qpos if qpos is None else qpos
        total = np.zeros((*self.size, 3), dtype=np.float32)
        for offset in self._lamps:
            self.model.light_pos[:] = self.world.model.light_pos
            self.model.light_pos[self._key] += offset
            total += super().render(qpos, camera)
        return np.round(total / len(self._lamps)).astype(np.uint8)
