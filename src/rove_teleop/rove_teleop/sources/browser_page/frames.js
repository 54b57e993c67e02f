// SPDX-License-Identifier: Apache-2.0
// The puppet's frames to the teleop node, format RVD1 (rove_teleop/sources/browser.py).
import { Link, localNow } from "./link.js";

const MAGIC = 0x31445652; // "RVD1"
const HEADER = 40, VALUES = 22;
const FOLLOWS = 1;
const BACKLOG = 1024; // bytes that wait in the browser: some frames; with more the network is stuck, and old poses are of no use

export class Frames extends Link {
  constructor(on) {
    super(on);
    this.seq = this.sent = 0;
    this.buffer = new ArrayBuffer(HEADER + 4 * VALUES);
    this.view = new DataView(this.buffer);
    this.values = new Float32Array(this.buffer, HEADER);
  }

  frame({ now, follows }) {
    if (!this.open || !now || this.socket.bufferedAmount > BACKLOG) return false;
    const view = this.view;
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, follows ? FOLLOWS : 0, true);
    view.setFloat64(8, this.seq++, true);
    view.setFloat64(16, localNow(), true);
    view.setFloat64(24, this.monotonic, true);
    view.setFloat64(32, this.rtt, true);
    this.values.set([...now.waist, ...now.head, now.closure.left, now.closure.right, ...now.wrists.left, ...now.wrists.right]);
    this.sent += 1;
    return this.send(this.buffer);
  }
}
