// SPDX-License-Identifier: Apache-2.0
// Shared by the timeline and the joints: a canvas at the screen's resolution with a still picture below a moving playhead.
export { color } from "./dom.js";

export function fit(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  return { ratio, width, height };
}

// Draws `paint(context, width, height)` once and returns it as a canvas to copy from.
export function still(canvas, paint) {
  const { ratio, width, height } = fit(canvas);
  const layer = document.createElement("canvas");
  layer.width = canvas.width;
  layer.height = canvas.height;
  const c = layer.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint(c, width, height);
  return layer;
}

export function copy(canvas, layer) {
  const c = canvas.getContext("2d");
  c.setTransform(1, 0, 0, 1, 0, 0);
  c.clearRect(0, 0, canvas.width, canvas.height);
  c.drawImage(layer, 0, 0);
  const ratio = window.devicePixelRatio || 1;
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  return c;
}

// A line through `get(i)`; a missing value interrupts it.
export function line(c, count, x, y, get) {
  c.beginPath();
  let drawing = false;
  for (let i = 0; i < count; i++) {
    const value = get(i);
    if (value === null || Number.isNaN(value)) {
      drawing = false;
      continue;
    }
    if (drawing) c.lineTo(x(i), y(value));
    else c.moveTo(x(i), y(value));
    drawing = true;
  }
  c.stroke();
}
