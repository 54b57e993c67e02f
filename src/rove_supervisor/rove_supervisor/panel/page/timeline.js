// SPDX-License-Identifier: Apache-2.0
// The episode's stages as a strip that grows while it runs, with the critic's value V(s) in [-1, 0] over it.
import { color, context } from "./dom.js";

export const MODES = ["ROLLOUT", "PAUSED", "ADAPTATION", "RECOVERY", "DEMONSTRATION"];
const AXIS = 16; // px below the strip for the time axis
const LABEL = 19; // px at its top for the names of the stages

export function draw(canvas, segments, elapsed, value) {
  const [c, width, height] = context(canvas);
  const bottom = height - AXIS;
  // The scale jumps in powers of two from 20 s, so that the strip grows instead of shrinking continuously.
  let span = 20;
  while (span < elapsed) span *= 2;
  const x = (t) => (t / span) * width;
  c.fillStyle = color("raised");
  c.fillRect(0, 0, width, bottom);
  c.font = "600 12px system-ui, sans-serif";
  c.textBaseline = "middle";
  for (const [mode, begin, end] of segments) {
    const left = x(begin), right = x(end === null ? elapsed : end);
    c.fillStyle = color(mode);
    c.fillRect(left, 0, Math.max(1.5, right - left), bottom);
    if (right - left > c.measureText(mode).width + 12) {
      c.fillStyle = color("dark");
      c.fillText(mode, left + 6, 9);
    }
    if (mode === "RECOVERY") { // its first moment is t_r
      c.fillStyle = "#fff";
      c.fillRect(left - 1, 0, 2, bottom);
    }
  }
  if (value.points.length > 1) {
    const y = (v) => LABEL - v * (bottom - LABEL - 3);
    c.strokeStyle = "#ffffff88";
    c.setLineDash([4, 4]);
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(0, y(value.threshold));
    c.lineTo(width, y(value.threshold));
    c.stroke();
    c.setLineDash([]);
    for (const [stroke, thick] of [[color("dark"), 5], ["#ffffff", 2.5]]) {
      c.strokeStyle = stroke;
      c.lineWidth = thick;
      c.lineJoin = "round";
      c.beginPath();
      value.points.forEach(([t, v], i) => (i ? c.lineTo(x(t), y(v)) : c.moveTo(x(t), y(v))));
      c.stroke();
    }
  }
  c.fillStyle = color("dim");
  c.font = "11px system-ui, sans-serif";
  const step = span / 10;
  for (let t = 0; t < span; t += step) c.fillText(`${t} s`, x(t) + (t ? -8 : 0), height - AXIS / 2 + 2);
}
