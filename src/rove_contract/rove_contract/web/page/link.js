// SPDX-License-Identifier: Apache-2.0
// The connection of a page to its server (rove_contract.web.server): reconnects, acknowledges, compares clocks.
import { Pictures } from "./pictures.js";

const PING_MS = 500;
const EXCHANGES = 20; // pings of the last 10 s; the quickest of them tells the clocks best
const RETRY_MS = 250, RETRY_MOST_MS = 2000;

export const localNow = () => (performance.timeOrigin + performance.now()) / 1000; // s, never steps back

export class Link {
  // on: { message(object), picture(bitmap, stamp), opened(), closed() }, each may be missing.
  constructor(on, path = "ws") {
    this.on = on;
    this.path = path;
    this.name = ""; // how the server calls this page
    this.refused = ""; // why the server lets this page not in
    this.socket = null;
    this.retry = RETRY_MS;
    this.monotonic = this.unix = this.rtt = NaN; // s: the server's clocks minus localNow(), and the round trip
    this.pictures = new Pictures((bitmap, stamp, camera) => this.on.picture?.(bitmap, stamp, camera), (number) => this.send({ ack: number }));
    setInterval(() => this.ping(), PING_MS);
    this.connect();
  }

  get open() { return this.socket !== null && this.socket.readyState === WebSocket.OPEN; }

  // Unix s by the server's clock.
  serverNow() { return localNow() + (Number.isFinite(this.unix) ? this.unix : 0); }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/${this.path}`);
    this.socket = socket;
    this.exchanges = [];
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onopen = () => { this.refused = ""; this.ping(); this.on.opened?.(); };
    socket.onclose = () => {
      this.socket = null;
      this.monotonic = this.unix = this.rtt = NaN;
      this.on.closed?.();
      this.ask();
      setTimeout(() => this.connect(), this.retry);
      this.retry = Math.min(RETRY_MOST_MS, this.retry * 1.6);
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
  drop() { this.socket?.close(); }

  send(message) {
    if (this.open) this.socket.send(message instanceof ArrayBuffer ? message : JSON.stringify(message));
    return this.open;
  }

  receive(data) {
    if (typeof data !== "string") return this.pictures.receive(data);
    const message = JSON.parse(data);
    this.retry = RETRY_MS;
    if (message.type === "pong") return this.pong(message);
    if (message.type === "hello") this.name = message.name;
    this.on.message?.(message);
    if (message.n !== undefined) this.send({ seen: message.n });
  }

  ping() { this.send({ ping: localNow() }); }

  pong({ ping, monotonic, unix }) {
    const back = localNow(), middle = (ping + back) / 2;
    this.exchanges.push({ rtt: back - ping, monotonic: monotonic - middle, unix: unix - middle });
    if (this.exchanges.length > EXCHANGES) this.exchanges.shift();
    const best = this.exchanges.reduce((a, b) => (b.rtt < a.rtt ? b : a));
    [this.rtt, this.monotonic, this.unix] = [best.rtt, best.monotonic, best.unix];
  }
}
