// SPDX-License-Identifier: Apache-2.0
// The robot's geoms in WebGL 2, the hands that are asked for as ghosts, and behind them the camera's picture.
import { matrix, product, relative, compose } from "./vector.js";
import { color } from "./dom.js";

const VERTEX = `#version 300 es
layout(location=0) in vec3 place; layout(location=1) in vec3 normal;
uniform mat4 model, sight; uniform mat4 view; out vec3 n;
void main() { n = mat3(view) * mat3(model) * normal; gl_Position = sight * model * vec4(place, 1.0); }`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec3 n; uniform vec4 paint; out vec4 pixel;
void main() { vec3 m = normalize(n); float light = 0.45 + 0.4 * abs(m.z) + 0.15 * m.y; pixel = vec4(paint.rgb * light * paint.a, paint.a); }`;
const BACKDROP_VERTEX = `#version 300 es
out vec2 uv;
void main() { vec2 c = vec2(gl_VertexID & 1, gl_VertexID >> 1); uv = vec2(c.x, 1.0 - c.y); gl_Position = vec4(2.0 * c - 1.0, 0.999, 1.0); }`;
const BACKDROP_FRAGMENT = `#version 300 es
precision mediump float; in vec2 uv; uniform sampler2D image; out vec4 pixel;
void main() { pixel = texture(image, uv); }`;
const RINGS = 6, AROUND = 14;

const rgb = (name) => [1, 3, 5].map((i) => parseInt(color(name).slice(i, i + 2), 16) / 255);

// Triangles [place, normal] of a capsule along z: a sphere when half is 0; stretched by `size` for an ellipsoid.
function capsule(radius, half, size = [1, 1, 1]) {
  const rows = [];
  for (let i = 0; i <= 2 * RINGS + 1; i++) {
    const lower = i > RINGS, latitude = Math.PI / 2 - (Math.PI / 2) * ((lower ? i - 1 : i) / RINGS);
    rows.push({ z: radius * Math.sin(latitude) + (lower ? -half : half), r: radius * Math.cos(latitude), n: latitude });
  }
  const vertex = ({ z, r, n }, k) => {
    const a = (2 * Math.PI * k) / AROUND, c = Math.cos(a), s = Math.sin(a);
    return [r * c * size[0], r * s * size[1], z * size[2], (Math.cos(n) * c) / size[0], (Math.cos(n) * s) / size[1], Math.sin(n) / size[2]];
  };
  const out = [];
  for (let i = 0; i + 1 < rows.length; i++) {
    for (let k = 0; k < AROUND; k++) {
      const [a, b, c, d] = [vertex(rows[i], k), vertex(rows[i], k + 1), vertex(rows[i + 1], k), vertex(rows[i + 1], k + 1)];
      out.push(...a, ...c, ...b, ...b, ...c, ...d);
    }
  }
  return out;
}

function box([x, y, z]) {
  const out = [];
  for (const axis of [0, 1, 2]) {
    for (const sign of [-1, 1]) {
      const corner = (u, v) => { const p = [0, 0, 0]; p[axis] = sign; p[(axis + 1) % 3] = u; p[(axis + 2) % 3] = v; return [p[0] * x, p[1] * y, p[2] * z]; };
      const n = [0, 0, 0];
      n[axis] = sign;
      for (const [u, v] of [[-1, -1], [1, -1], [1, 1], [-1, -1], [1, 1], [-1, 1]]) out.push(...corner(u, v), ...n);
    }
  }
  return out;
}

const shape = (kind, size) => (kind === "box" ? box(size) : kind === "ellipsoid" ? capsule(1, 0, size) : capsule(size[0], kind === "sphere" ? 0 : size[1]));

export class Scene {
  constructor(canvas, { geoms, hands }) {
    const gl = (this.gl = canvas.getContext("webgl2", { antialias: true, alpha: false }));
    if (!gl) throw new Error("this browser has no WebGL 2");
    this.hands = hands;
    this.solid = this.program(VERTEX, FRAGMENT, ["model", "sight", "view", "paint"]);
    this.backdrop = this.program(BACKDROP_VERTEX, BACKDROP_FRAGMENT, ["image"]);
    const data = [];
    this.geoms = geoms.map(([body, kind, ...v]) => {
      const triangles = shape(kind, v.slice(0, 3)), first = data.length / 6;
      for (const value of triangles) data.push(value);
      return { body, first, count: triangles.length / 6, pose: v.slice(3, 10), paint: v.slice(10, 13) };
    });
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(data), gl.STATIC_DRAW);
    for (const i of [0, 1]) {
      gl.enableVertexAttribArray(i);
      gl.vertexAttribPointer(i, 3, gl.FLOAT, false, 24, 12 * i);
    }
    this.picture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.picture);
    for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, gl.LINEAR);
    for (const key of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, key, gl.CLAMP_TO_EDGE);
    this.ground = rgb("ground");
  }

  program(vertex, fragment, names) {
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
    return { program, ...Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)])) };
  }

  show(bitmap) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.picture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  }

  // bodies: poses of the robot's. wrists: side -> pose that is asked for. paints: side -> name of a colour.
  draw(camera, ratio, bodies, wrists, paints) {
    const gl = this.gl, { x, y, width, height } = camera.box, through = camera.eyes !== null;
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(...this.ground, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.viewport(x * ratio, gl.drawingBufferHeight - (y + height) * ratio, width * ratio, height * ratio);
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.bindVertexArray(this.array);
    if (through) {
      gl.depthMask(false);
      gl.useProgram(this.backdrop.program);
      gl.bindTexture(gl.TEXTURE_2D, this.picture);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
      gl.depthMask(true);
    }
    gl.useProgram(this.solid.program);
    const view = camera.view;
    gl.uniformMatrix4fv(this.solid.view, false, view);
    gl.uniformMatrix4fv(this.solid.sight, false, product(camera.projection, view));
    if (!through) for (const geom of this.geoms) this.geom(geom, bodies[geom.body], [...geom.paint.map((v) => 0.15 + 0.8 * v), 1]);
    gl.clear(gl.DEPTH_BUFFER_BIT); // what is asked for is never hidden behind the robot
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    for (const [side, wrist] of Object.entries(wrists)) {
      if (!this.hands[side].length) continue; // the robot has no arm there
      const own = this.hands[side], paint = [...rgb(paints[side]), 0.55], from = bodies[own[0]];
      for (const geom of this.geoms) {
        if (own.includes(geom.body)) this.geom(geom, compose(wrist, relative(from, bodies[geom.body])), paint);
      }
    }
  }

  geom({ first, count, pose }, body, paint) {
    const gl = this.gl;
    gl.uniformMatrix4fv(this.solid.model, false, matrix(compose(body, pose)));
    gl.uniform4fv(this.solid.paint, paint);
    gl.drawArrays(gl.TRIANGLES, first, count);
  }
}
