// SPDX-License-Identifier: Apache-2.0
// The connection to the supervisor: newest state, clock offset, signs of life for the dead-man lease, reconnection.
const STATE_LOST_MS = 1000; // 10 missed states
const RENEW_MS = 100; // a third of the lease

const localNow = () => (performance.timeOrigin + performance.now()) / 1000;

export class Link {
  // on: { state(), frame(buffer), reply(message), lost() }
  constructor(on) {
    this.on = on;
    this.state = null;
    this.received = 0; // ms of the newest state
    this.name = ""; // how the supervisor calls this page
    this.refused = ""; // why the server lets this page not in
    this.socket = null;
    this.next = 1;
    this.retry = 250;
    this.offset = 0; // s, supervisor's clock - ours
    this.bestRtt = Infinity;
    this.pings = new Map();
    setInterval(() => this.ping(), 2000);
    // A hidden page is throttled to 1 Hz by the browser: nobody watches the robot there, so the lease may run out.
    setInterval(() => this.state && this.state.dead_man.on && this.send({ alive: true }), RENEW_MS);
    this.connect();
  }

  get connected() {
    return this.state !== null && this.open && performance.now() - this.received < STATE_LOST_MS;
  }

  get open() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  serverNow() {
    return localNow() + this.offset;
  }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onopen = () => { this.bestRtt = Infinity; this.refused = ""; this.ping(); };
    socket.onclose = () => {
      this.socket = null;
      this.on.lost();
      this.ask();
      setTimeout(() => this.connect(), this.retry);
      this.retry = Math.min(2000, this.retry * 1.6);
    };
  }

  // A browser does not tell why a WebSocket was refused; the page itself is refused for the same reason.
  async ask() {
    try {
      const answer = await fetch("./", { headers: { Accept: "application/json" } });
      this.refused = answer.status === 401 || answer.status === 403 ? (await answer.json()).error : "";
    } catch {
      this.refused = ""; // nobody there: no refusal
    }
  }

  // Hang up: a new connection follows at once.
  drop() {
    if (this.socket) this.socket.close();
  }

  receive(data) {
    if (typeof data !== "string") return this.on.frame(data);
    const message = JSON.parse(data);
    if (message.type === "state") {
      this.state = message;
      this.received = performance.now();
      this.retry = 250;
      this.on.state();
      this.send({ seen: message.n });
    } else if (message.type === "reply") this.on.reply(message);
    else if (message.type === "hello") this.name = message.name;
    else if (message.type === "pong") this.pong(message);
  }

  send(message) {
    if (this.open) this.socket.send(JSON.stringify(message));
    return this.open;
  }

  request(action, extra = {}) {
    return this.send({ do: action, id: this.next++, ...extra });
  }

  // Clock of the supervisor by the ping with the shortest round trip: the age of a picture compares two machines' clocks.
  ping() {
    const id = this.next++;
    this.pings.set(id, localNow());
    this.send({ do: "ping", id });
  }

  pong({ id, t }) {
    const sent = this.pings.get(id), now = localNow();
    this.pings.clear();
    if (sent !== undefined && now - sent <= this.bestRtt) { this.bestRtt = now - sent; this.offset = t - (sent + now) / 2; }
    this.bestRtt *= 1.05; // forget slowly: clocks drift
  }
}
