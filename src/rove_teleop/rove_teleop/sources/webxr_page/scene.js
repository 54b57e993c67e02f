// SPDX-License-Identifier: Apache-2.0
// What is drawn in the headset: the camera picture where the robot looks, the robot's hands (coloured ghosts), the operator's (white), a line of text.

import { color } from "./dom.js";

const BONES = [[0, 1], [1, 2], [2, 3], [3, 4], [0, 5], [5, 6], [6, 7], [7, 8], [0, 9], [9, 10], [10, 11], [11, 12],
  [0, 13], [13, 14], [14, 15], [15, 16], [0, 17], [17, 18], [18, 19], [19, 20], [5, 9], [9, 13], [13, 17]]; // of 21 keypoints
const DISTANCE = 1.2; // m, camera picture from the eyes: behind the hands' reach
const AWAY = Math.cos(0.6); // when the robot looks further from the operator's view than this, the picture stays at this angle
const GHOST_RADIUS = 0.009, OWN_RADIUS = 0.0035; // m
const FLOATS = 10; // per vertex: position, normal, colour

const VERTEX = `#version 300 es
layout(location=0) in vec3 place; layout(location=1) in vec3 normal; layout(location=2) in vec4 colour;
uniform mat4 projection, view; out vec3 n; out vec4 c;
void main() { n = mat3(view) * normal; c = colour; gl_Position = projection * view * vec4(place, 1.0); }`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec3 n; in vec4 c; out vec4 pixel;
void main() { float light = 0.55 + 0.45 * abs(normalize(n).z); pixel = vec4(c.rgb * light * c.a, c.a); }`;
const QUAD_VERTEX = `#version 300 es
layout(location=0) in vec2 corner; uniform mat4 projection, view, model; out vec2 uv;
void main() { uv = vec2(corner.x, 1.0 - corner.y); gl_Position = projection * view * model * vec4(corner - 0.5, 0.0, 1.0); }`;
const QUAD_FRAGMENT = `#version 300 es
precision mediump float; in vec2 uv; uniform sampler2D image; out vec4 pixel;
void main() { pixel = texture(image, uv); }`;

// Quaternions are [x, y, z, w].
export const turn = ([x, y, z, w], [a, b, c]) => {
  const t = [2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)];
  return [a + w * t[0] + y * t[2] - z * t[1], b + w * t[1] + z * t[0] - x * t[2], c + w * t[2] + x * t[1] - y * t[0]];
};
const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const scale = (a, k) => [a[0] * k, a[1] * k, a[2] * k];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => scale(a, 1 / (Math.hypot(...a) || 1));

export const distance = (a, b) => Math.hypot(...sub(a, b));

function slerp(a, b, k) {
  let cosine = a.reduce((sum, v, i) => sum + v * b[i], 0);
  if (cosine < 0) { b = b.map((v) => -v); cosine = -cosine; }
  const angle = Math.acos(Math.min(cosine, 1));
  const [p, q] = angle < 1e-3 ? [1 - k, k] : [Math.sin((1 - k) * angle) / Math.sin(angle), Math.sin(k * angle) / Math.sin(angle)];
  return a.map((v, i) => p * v + q * b[i]);
}

// A colour of the page's palette as red, green, blue, each 0 to 1.
const rgb = (name) => [1, 3, 5].map((i) => parseInt(color(name).slice(i, i + 2), 16) / 255);

// Green when aligned, amber at the threshold, red from twice of it on; grey when unknown.
export function colour(error, warn) {
  if (!(error >= 0)) return rgb("dim");
  const [green, amber, red] = [rgb("good"), rgb("warn"), rgb("ESTOP")];
  const k = Math.min(error / warn, 2);
  const [a, b, t] = k < 1 ? [green, amber, k] : [amber, red, k - 1];
  return a.map((v, i) => v + t * (b[i] - v));
}

export class Scene {
  constructor(gl) {
    this.gl = gl;
    this.hands = this.program(VERTEX, FRAGMENT);
    this.quad = this.program(QUAD_VERTEX, QUAD_FRAGMENT);
    this.mesh = new Float32Array(FLOATS * 24 * BONES.length * 4);
    this.vertices = 0;
    this.meshArray = gl.createVertexArray();
    gl.bindVertexArray(this.meshArray);
    this.meshBuffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.meshBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, this.mesh.byteLength, gl.DYNAMIC_DRAW);
    for (const [i, size, at] of [[0, 3, 0], [1, 3, 12], [2, 4, 24]]) {
      gl.enableVertexAttribArray(i);
      gl.vertexAttribPointer(i, size, gl.FLOAT, false, 4 * FLOATS, at);
    }
    this.quadArray = gl.createVertexArray();
    gl.bindVertexArray(this.quadArray);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 8, 0);
    gl.bindVertexArray(null);
    this.picture = this.texture();
    this.words = this.texture();
    this.paper = new OffscreenCanvas(1024, 128);
    this.pictureSize = null;
    this.text = null;
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const uniform = (name) => gl.getUniformLocation(program, name);
    return { program, projection: uniform("projection"), view: uniform("view"), model: uniform("model") };
  }

  texture() {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const [key, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
      [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) gl.texParameteri(gl.TEXTURE_2D, key, value);
    return texture;
  }

  upload(texture, image) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
  }

  show(bitmap) {
    this.upload(this.picture, bitmap);
    this.pictureSize = [bitmap.width, bitmap.height];
  }

  write(text, fill) {
    if (text === this.text) return;
    this.text = text;
    const c = this.paper.getContext("2d");
    c.clearRect(0, 0, 1024, 128);
    c.fillStyle = "rgba(12, 16, 21, 0.85)";
    c.fillRect(0, 0, 1024, 128);
    c.textAlign = "center";
    text.split("\n").forEach((line, i) => {
      c.font = i ? "38px system-ui, sans-serif" : "600 44px system-ui, sans-serif";
      c.fillStyle = i ? "#e8edf2" : fill;
      c.fillText(line, 512, 52 + 54 * i, 1000);
    });
    this.upload(this.words, this.paper);
  }

  // points: 21 [x, y, z]; a four-sided bar per bone.
  hand(points, radius, [r, g, b], alpha) {
    for (const [i, j] of BONES) {
      const a = points[i], b_ = points[j], along = unit(sub(b_, a));
      const u = unit(cross(along, Math.abs(along[1]) < 0.9 ? [0, 1, 0] : [1, 0, 0])), v = cross(along, u);
      const sides = [u, v, scale(u, -1), scale(v, -1)];
      for (let k = 0; k < 4; k++) {
        const m = sides[k], n = sides[(k + 1) % 4], normal = unit(add(m, n));
        const p = add(a, scale(m, radius)), q = add(a, scale(n, radius)), s = add(b_, scale(m, radius)), t = add(b_, scale(n, radius));
        for (const place of [p, q, s, q, t, s]) {
          this.mesh.set([...place, ...normal, r, g, b, alpha], FLOATS * this.vertices++);
        }
      }
    }
  }

  // eyes: {position, orientation} of the viewer; robot: last state or null, own: side -> 21 points or null, pivot: of the neck.
  compose(eyes, robot, own, pivot, fovy) {
    this.vertices = 0;
    for (const side of ["left", "right"]) {
      if (own[side]) this.hand(own[side], OWN_RADIUS, [1, 1, 1], 1);
    }
    for (const side of ["left", "right"]) {
      if (robot?.hands?.[side]) this.hand(ghost(robot, side, pivot), GHOST_RADIUS, colour(robot.errors[side], robot.warn), 0.6);
    }
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.meshBuffer);
    this.gl.bufferSubData(this.gl.ARRAY_BUFFER, 0, this.mesh, 0, FLOATS * this.vertices);
    let orientation = eyes.orientation, place = eyes.position;
    if (robot?.camera) {
      orientation = robot.camera.orientation;
      place = add(pivot, robot.camera.position);
      const cosine = dot(turn(orientation, [0, 0, -1]), turn(eyes.orientation, [0, 0, -1]));
      if (cosine < AWAY) {
        const angle = Math.acos(Math.max(cosine, -1));
        orientation = slerp(eyes.orientation, orientation, Math.acos(AWAY) / angle);
        place = eyes.position;
      }
    }
    const high = 2 * DISTANCE * Math.tan(fovy / 2), wide = this.pictureSize ? (high * this.pictureSize[0]) / this.pictureSize[1] : high;
    this.pictureModel = this.board(place, orientation, [0, 0, -DISTANCE], wide, high);
    // The text goes with the head, above the place where hands work.
    this.wordsModel = this.board(eyes.position, eyes.orientation, [0, 0.36, -0.9], 0.72, 0.09);
  }

  // Model matrix (column-major) of a board, its centre `offset` from `place` in the axes of `orientation`.
  board(place, orientation, offset, wide, high) {
    const [x, y, z] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((axis) => turn(orientation, axis));
    const at = add(place, turn(orientation, offset));
    return new Float32Array([...scale(x, wide), 0, ...scale(y, high), 0, ...z, 0, ...at, 1]);
  }

  // Draw one eye. Opaque first, then the ghosts, then the text.
  draw(projection, view) {
    const gl = this.gl;
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.useProgram(this.quad.program);
    gl.uniformMatrix4fv(this.quad.projection, false, projection);
    gl.uniformMatrix4fv(this.quad.view, false, view);
    gl.bindVertexArray(this.quadArray);
    if (this.pictureSize) {
      gl.bindTexture(gl.TEXTURE_2D, this.picture);
      gl.uniformMatrix4fv(this.quad.model, false, this.pictureModel);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(this.hands.program);
    gl.uniformMatrix4fv(this.hands.projection, false, projection);
    gl.uniformMatrix4fv(this.hands.view, false, view);
    gl.bindVertexArray(this.meshArray);
    gl.drawArrays(gl.TRIANGLES, 0, this.vertices);
    gl.disable(gl.DEPTH_TEST);
    gl.useProgram(this.quad.program);
    gl.bindVertexArray(this.quadArray);
    if (this.text !== null) {
      gl.bindTexture(gl.TEXTURE_2D, this.words);
      gl.uniformMatrix4fv(this.quad.model, false, this.wordsModel);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    gl.bindVertexArray(null);
  }
}

// 21 points of a robot's hand in the reference space.
export function ghost(robot, side, pivot) {
  const flat = robot.hands[side], points = [];
  for (let i = 0; i < flat.length; i += 3) points.push(add(pivot, flat.slice(i, i + 3)));
  return points;
}

// Neck's pivot from the eyes; offset: eyes from the pivot in a frame with x forward, y left, z up.
export function neck(position, orientation, [forward, left, up]) {
  return sub(position, turn(orientation, [-left, up, -forward]));
}
