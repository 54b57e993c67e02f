// SPDX-License-Identifier: Apache-2.0
// What the person asks for: both wrists, how far the hands are closed, waist and head. It moves towards what is dragged
// no faster than a calm person, and while nobody drives it is the robot.
import { add, angle, clamp, multiply, slerp, sub, scale, turn } from "./vector.js";

const SPEED = 1.0, TURN_SPEED = 3.0; // m/s, rad/s of a wrist
const CLOSING_SPEED = 3.0; // per s; 1 is from open to closed
const JOINT_SPEED = { waist: 0.5, head: 1.0 }; // rad/s
const REACH = 1.2; // m, of a wrist from the middle of the body
export const SIDES = ["left", "right"];

const copy = (pose) => JSON.parse(JSON.stringify(pose));

export class Puppet {
  constructor() {
    this.now = this.goal = null; // {waist, head, closure: {side}, wrists: {side: [x, y, z, w, qx, qy, qz]}}
    this.touched = false; // something was dragged: it is no longer the robot
    this.driven = false;
    this.limits = null;
    this.sides = SIDES; // those on which the robot has an arm
    this.palms = { left: [0, 0, 0], right: [0, 0, 0] };
  }

  get follows() { return !this.touched && !this.driven; }

  // The robot's newest pose, and whether the operator drives.
  robot(pose, driven) {
    if (this.driven && !driven) this.touched = false; // handed back: it is the robot again
    this.driven = driven;
    if (!pose) return;
    if (this.follows || !this.now) this.match(pose);
  }

  match(pose) {
    this.now = copy(pose);
    this.goal = copy(pose);
    this.touched = false;
  }

  // The palm, about which a hand turns and by which it is held; pelvis frame.
  palm(side, pose = this.now) {
    const wrist = pose.wrists[side];
    return add(wrist.slice(0, 3), turn(wrist.slice(3), this.palms[side]));
  }

  move(side, delta) { this.place(side, add(this.goal.wrists[side].slice(0, 3), delta), this.goal.wrists[side].slice(3)); }

  // Turn about the palm by a quaternion of the pelvis frame.
  rotate(side, q) {
    const palm = this.palm(side, this.goal), rotation = multiply(q, this.goal.wrists[side].slice(3));
    this.place(side, sub(palm, turn(rotation, this.palms[side])), rotation);
  }

  place(side, position, rotation) {
    const way = sub(position, this.limits.middle), far = Math.hypot(...way);
    this.goal.wrists[side] = [...(far > REACH ? add(this.limits.middle, scale(way, REACH / far)) : position), ...rotation];
    this.touched = true;
  }

  close(side, closure) {
    this.goal.closure[side] = clamp(closure, 0, 1);
    this.touched = true;
  }

  bend(part, axis, delta) {
    const [low, high] = this.limits[part][axis];
    this.goal[part][axis] = clamp(this.goal[part][axis] + delta, low, high);
    this.touched = true;
  }

  // dt seconds towards what is dragged.
  step(dt) {
    if (!this.now) return;
    for (const side of SIDES) {
      const from = this.now.wrists[side], to = this.goal.wrists[side];
      const way = sub(to.slice(0, 3), from.slice(0, 3)), far = Math.hypot(...way), off = angle(from.slice(3), to.slice(3));
      const k = Math.min(1, (SPEED * dt) / (far || 1), (TURN_SPEED * dt) / (off || 1));
      this.now.wrists[side] = k === 1 ? [...to] : [...add(from.slice(0, 3), scale(way, k)), ...slerp(from.slice(3), to.slice(3), k)];
      this.now.closure[side] += clamp(this.goal.closure[side] - this.now.closure[side], -CLOSING_SPEED * dt, CLOSING_SPEED * dt);
    }
    for (const part of ["waist", "head"]) {
      this.now[part] = this.now[part].map((v, i) => v + clamp(this.goal[part][i] - v, -JOINT_SPEED[part] * dt, JOINT_SPEED[part] * dt));
    }
  }
}
