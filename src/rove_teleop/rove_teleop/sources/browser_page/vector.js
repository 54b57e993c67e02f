// SPDX-License-Identifier: Apache-2.0
// Vectors [x, y, z], quaternions [w, x, y, z], column-major 4 x 4 matrices.
export const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const scale = (a, k) => [a[0] * k, a[1] * k, a[2] * k];
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const unit = (a) => scale(a, 1 / (Math.hypot(...a) || 1));
export const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

export const multiply = ([a, b, c, d], [e, f, g, h]) => [
  a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g, a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e];
export const conjugate = ([w, x, y, z]) => [w, -x, -y, -z];
export const about = (axis, angle) => [Math.cos(angle / 2), ...scale(axis, Math.sin(angle / 2))];
export const turn = (q, v) => {
  const u = [q[1], q[2], q[3]], t = scale(cross(u, v), 2);
  return add(add(v, scale(t, q[0])), cross(u, t));
};
// Angle between two rotations, rad.
export const angle = (a, b) => 2 * Math.acos(Math.min(1, Math.abs(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3])));

// From a to b, the share k of the way.
export function slerp(a, b, k) {
  let cosine = a.reduce((sum, v, i) => sum + v * b[i], 0);
  if (cosine < 0) { b = b.map((v) => -v); cosine = -cosine; }
  const half = Math.acos(Math.min(1, cosine));
  const [p, q] = half < 1e-4 ? [1 - k, k] : [Math.sin((1 - k) * half) / Math.sin(half), Math.sin(k * half) / Math.sin(half)];
  const mixed = a.map((v, i) => p * v + q * b[i]), norm = Math.hypot(...mixed);
  return mixed.map((v) => v / norm);
}

// Pose [x, y, z, w, qx, qy, qz] -> matrix.
export function matrix(pose) {
  const q = pose.slice(3), [x, y, z] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((axis) => turn(q, axis));
  return [...x, 0, ...y, 0, ...z, 0, pose[0], pose[1], pose[2], 1];
}

export function product(a, b) {
  const out = new Array(16).fill(0);
  for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[4 * c + r] += a[4 * k + r] * b[4 * c + k];
  return out;
}

// Pose b, given in the frame of pose a, in the frame of a's parent; and the inverse.
export const compose = (a, b) => [...add(a.slice(0, 3), turn(a.slice(3), b.slice(0, 3))), ...multiply(a.slice(3), b.slice(3))];
export const relative = (a, b) => {
  const back = conjugate(a.slice(3));
  return [...turn(back, sub(b.slice(0, 3), a.slice(0, 3))), ...multiply(back, b.slice(3))];
};
