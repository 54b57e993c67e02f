// SPDX-License-Identifier: Apache-2.0
// Front view of the robot (white) and of the pose the operator asks for (coloured): the operator sees where to move.
// poses: polylines of [y, z] in m, pelvis frame, y to the robot's left. Mirrored, as in a mirror the operator looks into.
import { color as hue, context } from "./dom.js";

export function draw(canvas, ghost, color) {
  const [c, width, height] = context(canvas);
  if (!width) return;
  const scale = height / 0.8; // px per m: from the hips (-0.08 m) to above the head (0.72 m)
  const point = ([y, z]) => [width / 2 - y * scale, height - (z + 0.08) * scale];
  const pose = (lines, stroke, thick) => {
    c.strokeStyle = stroke;
    c.lineWidth = thick;
    c.lineCap = c.lineJoin = "round";
    for (const line of lines) {
      c.beginPath();
      line.forEach((p, i) => (i ? c.lineTo(...point(p)) : c.moveTo(...point(p))));
      c.stroke();
    }
  };
  if (ghost.robot) pose(ghost.robot, hue("ink"), 5);
  if (ghost.operator) pose(ghost.operator, color, 3);
}
