// SPDX-License-Identifier: Apache-2.0
// The headset's frames to the teleop node: head and hands, newest only.
import { Link, localNow } from "./link.js";

const HEADER = 40; // bytes: magic, flags, seq, t, clock offset, round trip
const POSES = 51; // head, 25 left, 25 right; x, y, z, qx, qy, qz, qw each
const HEAD = 1, HAND = { left: 2, right: 4 }, RECENTRED = 8;
const HELD = { left: 16, right: 32 }; // a controller instead of a hand
const FIRST = { left: 1, right: 26 };
const MAGIC = 0x31585652; // "RVX1"
const BACKLOG = 4096; // bytes that wait in the browser: 2 frames; with more the network is stuck, and old poses are of no use

export class Frames extends Link {
  // on: { robot(message), picture(bitmap), state() }
  constructor(on) {
    super({
      picture: on.picture,
      closed: () => { this.hello = null; on.state(); },
      message: (message) => {
        if (message.type === "hello") { this.hello = message; on.state(); }
        if (message.type === "robot") on.robot(message);
      },
    });
    this.hello = null;
    this.seq = this.sent = this.skipped = 0;
    this.buffer = new ArrayBuffer(HEADER + POSES * 7 * 4);
    this.view = new DataView(this.buffer);
    this.poses = new Float32Array(this.buffer, HEADER);
  }

  get up() { return this.open && this.hello !== null; }

  // head: XRPose or null; hands: {left, right}: 25 XRJointPoses or null; grips: {left, right}: {pose, closure} of a controller
  // or null. What is not tracked is left out, never repeated.
  frame(head, hands, grips, recentred) {
    if (!this.up) return false;
    if (this.socket.bufferedAmount > BACKLOG) {
      this.skipped += 1;
      return false;
    }
    let flags = recentred ? RECENTRED : 0;
    this.poses.fill(NaN);
    if (head) {
      flags |= HEAD;
      this.put(0, head.transform);
    }
    for (const side of ["left", "right"]) {
      if (grips[side]) {
        flags |= HELD[side];
        this.put(FIRST[side], grips[side].pose.transform);
        this.poses.set([grips[side].closure, 0, 0, 0, 0, 0, 1], 7 * (FIRST[side] + 1));
      }
      if (!hands[side] || grips[side]) continue;
      flags |= HAND[side];
      hands[side].forEach((pose, i) => this.put(FIRST[side] + i, pose.transform));
    }
    const view = this.view;
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, flags, true);
    view.setFloat64(8, this.seq++, true);
    view.setFloat64(16, localNow(), true);
    view.setFloat64(24, this.monotonic, true);
    view.setFloat64(32, this.rtt, true);
    this.send(this.buffer);
    this.sent += 1;
    return true;
  }

  put(i, { position: p, orientation: q }) {
    this.poses.set([p.x, p.y, p.z, q.x, q.y, q.z, q.w], 7 * i);
  }
}
