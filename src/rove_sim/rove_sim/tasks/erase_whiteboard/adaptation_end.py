# SPDX-License-Identifier: Apache-2.0
"""When the adaptation of an intervention is over (t_r), seen from outside: "intervention begins to produce sustained
task progress" (paper, sec. 3.1). One rule for scripted sessions over ROS and in-process deployments."""

from __future__ import annotations

import numpy as np

from rove_sim.tasks.erase_whiteboard import scene

COVERED = 0.2  # of the way to what comes next; more than a hand that looks for its place moves (1.5 cm of 12)
SHORT_M = 0.05  # ways shorter than this say nothing; then only grasping or wiping counts
SUSTAINED_S = 0.25


def way(sim: dict) -> float:
    """m from the grip to the eraser, or from the held eraser to the nearest mark. sim: `WhiteboardEnv.state()`."""
    if not sim["eraser_grasped"]:
        return float(sim["grip_error"])
    if not sim["marks"]:
        return 0.0
    u, v, n = scene.board_coordinates(np.array(sim["eraser_pos"]))
    aside = np.linalg.norm(np.array(sim["marks"]) - (u, v), axis=1).min()
    return float(np.hypot(aside, max(0.0, n - scene.ERASER_REST_N)))


class AdaptationEnd:
    """Begun with the state at takeover. `over` is asked once per step."""

    def __init__(self, sim: dict, sustained_s: float = SUSTAINED_S):
        self.marks, self.grasped, self.sustained_s = sim["marks_left"], sim["eraser_grasped"], sustained_s
        self.furthest = way(sim)
        self.since: float | None = None

    def over(self, sim: dict, now: float) -> bool:
        """True from the moment on when the task has advanced for `sustained_s`: the eraser grasped, a mark gone, or the
        hand well on its way to them. now: s."""
        if sim["success"]:
            return True
        left = way(sim)
        self.furthest = max(self.furthest, left)
        if self.grasped and not sim["eraser_grasped"]:  # dropped: begin again
            self.grasped, self.furthest = False, left
        advanced = (
            sim["marks_left"] < self.marks and sim["eraser_grasped"] or sim["eraser_grasped"] and not self.grasped
        )
        near = self.furthest > SHORT_M and left <= (1.0 - COVERED) * self.furthest
        if not (advanced or near):
            self.since = None
            return False
        if self.since is None:
            self.since = now
        return now - self.since > self.sustained_s
