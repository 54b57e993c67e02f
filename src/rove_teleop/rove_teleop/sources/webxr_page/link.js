// SPDX-License-Identifier: Apache-2.0
// The WebSocket to the teleop node: frames out, the robot's state and camera pictures in. Latest only, both ways.

const HEADER = 40; // bytes: magic, flags, seq, t, clock offset, round trip
const POSES = 51; // head, 25 left, 25 right; x, y, z, qx, qy, qz, qw each
const HEAD = 1, HAND = { left: 2, right: 4 }, RECENTRED = 8;
const FIRST = { left: 1, right: 26 };
const MAGIC = 0x31585652; // "RVX1"
const PING_MS = 500;
const SAMPLES = 20; // 10 s of pings; the quickest of them tells the offset best
const RETRY_MS = 1000;
const BACKLOG = 4096; // bytes that wait in the browser: 2 frames; with more the network is stuck, and old poses are of no use

export const now = () => (performance.timeOrigin + performance.now()) / 1000; // s, never steps back

export class Link {
  // on: {hello, robot, picture, state} callbacks.
  constructor(on) {
    this.on = on;
    this.hello = null;
    this.offset = NaN; // robot's clock - ours, s
    this.rtt = NaN;
    this.seq = this.sent = this.skipped = this.pictures = 0;
    this.buffer = new ArrayBuffer(HEADER + POSES * 7 * 4);
    this.view = new DataView(this.buffer);
    this.poses = new Float32Array(this.buffer, HEADER);
    this.connect();
    setInterval(() => this.text({ type: "ping", t: now() }), PING_MS);
  }

  get up() { return this.socket.readyState === WebSocket.OPEN && this.hello !== null; }

  connect() {
    this.exchanges = [];
    this.hello = null;
    const socket = (this.socket = new WebSocket(`${location.protocol === "http:" ? "ws" : "wss"}://${location.host}/ws`));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.told(JSON.parse(data)) : this.shown(data));
    socket.onopen = () => this.text({ type: "ping", t: now() });
    socket.onclose = () => {
      this.hello = null;
      this.offset = this.rtt = NaN;
      this.on.state();
      setTimeout(() => this.connect(), RETRY_MS);
    };
  }

  text(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  told(message) {
    if (message.type === "pong") {
      const back = now();
      this.exchanges.push({ rtt: back - message.t, offset: message.robot - (back + message.t) / 2 });
      if (this.exchanges.length > SAMPLES) this.exchanges.shift();
      const best = this.exchanges.reduce((a, b) => (b.rtt < a.rtt ? b : a));
      this.offset = best.offset;
      this.rtt = best.rtt;
    } else if (message.type === "hello") {
      this.hello = message;
      this.on.state();
    } else if (message.type === "robot") {
      this.on.robot(message);
      this.text({ type: "seen", n: message.n });
    }
  }

  async shown(data) {
    const seq = new DataView(data).getUint32(0, true);
    try {
      this.on.picture(await createImageBitmap(new Blob([new Uint8Array(data, 12)], { type: "image/jpeg" })), seq);
      this.pictures += 1;
    } catch (error) {
      console.warn("a camera picture cannot be decoded", error);
    }
    this.text({ type: "ack", seq });
  }

  // head: XRPose or null; hands: {left, right}: 25 XRJointPoses or null. What is not tracked is left out, never repeated.
  send(head, hands, recentred) {
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
      if (!hands[side]) continue;
      flags |= HAND[side];
      hands[side].forEach((pose, i) => this.put(FIRST[side] + i, pose.transform));
    }
    const view = this.view;
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, flags, true);
    view.setFloat64(8, this.seq++, true);
    view.setFloat64(16, now(), true);
    view.setFloat64(24, this.offset, true);
    view.setFloat64(32, this.rtt, true);
    this.socket.send(this.buffer);
    this.sent += 1;
    return true;
  }

  put(i, { position: p, orientation: q }) {
    this.poses.set([p.x, p.y, p.z, q.x, q.y, q.z, q.w], 7 * i);
  }
}
