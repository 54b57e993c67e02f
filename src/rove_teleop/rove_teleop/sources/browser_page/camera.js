// SPDX-License-Identifier: Apache-2.0
// Where the page looks from: a point on a sphere around the chest, or the robot's own camera.
import { add, clamp, dot, scale, sub, turn, unit, cross } from "./vector.js";

const FOVY = 0.75; // rad, of the orbiting camera
const NEAR = 0.02, FAR = 12;
export const VIEWS = { shoulder: [0.55, 0.62, 1.6], behind: [0, 0.35, 1.9], front: [Math.PI, 0.25, 1.9], left: [-Math.PI / 2, 0.15, 1.9], right: [Math.PI / 2, 0.15, 1.9], top: [0, 1.4, 1.9] };

export class Camera {
  constructor() {
    this.middle = [0, 0, 0]; // m, pelvis frame: what it turns around
    this.eyes = null; // {pose, fovy, aspect} of the robot's camera while the page looks through it
    this.look("shoulder");
    this.box = { x: 0, y: 0, width: 1, height: 1 }; // px of the picture in the canvas
  }

  about(middle) { this.middle = middle; }

  look(name) { [this.azimuth, this.elevation, this.distance] = VIEWS[name]; }

  orbit(dx, dy) {
    this.azimuth -= 0.008 * dx;
    this.elevation = clamp(this.elevation + 0.006 * dy, -0.6, 1.5);
  }

  zoom(factor) { this.distance = clamp(this.distance * factor, 0.5, 5); }

  // Everything for a canvas of this size, px.
  update(width, height) {
    const { eyes } = this;
    if (eyes) {
      const q = eyes.pose.slice(3);
      [this.right, this.up, this.back] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((axis) => turn(q, axis));
      this.place = eyes.pose.slice(0, 3);
      const fit = Math.min(width / eyes.aspect, height);
      this.box = { x: (width - fit * eyes.aspect) / 2, y: (height - fit) / 2, width: fit * eyes.aspect, height: fit };
    } else {
      const c = Math.cos(this.elevation);
      this.back = [-c * Math.cos(this.azimuth), -c * Math.sin(this.azimuth), Math.sin(this.elevation)];
      this.right = unit(cross([Math.sin(this.elevation) * Math.cos(this.azimuth), Math.sin(this.elevation) * Math.sin(this.azimuth), c], this.back));
      this.up = cross(this.back, this.right);
      this.place = add(this.middle, scale(this.back, this.distance));
      this.box = { x: 0, y: 0, width, height };
    }
    this.focal = this.box.height / 2 / Math.tan((eyes ? eyes.fovy : FOVY) / 2); // px
  }

  get view() {
    const { right: r, up: u, back: b, place: p } = this;
    return [r[0], u[0], b[0], 0, r[1], u[1], b[1], 0, r[2], u[2], b[2], 0, -dot(r, p), -dot(u, p), -dot(b, p), 1];
  }

  get projection() {
    const { width, height } = this.box, y = (2 * this.focal) / height, x = (2 * this.focal) / width;
    return [x, 0, 0, 0, 0, y, 0, 0, 0, 0, (FAR + NEAR) / (NEAR - FAR), -1, 0, 0, (2 * FAR * NEAR) / (NEAR - FAR), 0];
  }

  // m in front of the camera.
  depth(point) { return -dot(this.back, sub(point, this.place)); }

  // Point -> px in the canvas from its upper left corner, or null behind the camera.
  project(point) {
    const way = sub(point, this.place), depth = -dot(this.back, way);
    if (depth < NEAR) return null;
    const { x, y, width, height } = this.box, k = this.focal / depth;
    return [x + width / 2 + k * dot(this.right, way), y + height / 2 - k * dot(this.up, way)];
  }

  // What a drag of (dx, dy) px moves at `point`, m: in the plane of the picture, or along the line of sight.
  plane(dx, dy, point) {
    const k = this.depth(point) / this.focal;
    return add(scale(this.right, k * dx), scale(this.up, -k * dy));
  }

  inwards(dy, point) { return scale(this.back, (dy * this.depth(point)) / this.focal); }
}
