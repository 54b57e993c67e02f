// SPDX-License-Identifier: Apache-2.0
// The supervisor's newest state, and the wishes of the person at this page.
import { Link } from "./link.js";

const STATE_LOST_MS = 1000; // 10 missed states
const RENEW_MS = 100; // a third of the lease

export class Supervisor extends Link {
  // on: { state(), picture(bitmap, stamp, camera), reply(message), lost() }
  constructor(on) {
    super({
      picture: on.picture,
      closed: on.lost,
      message: (message) => {
        if (message.type === "reply") on.reply(message);
        if (message.type !== "state") return;
        this.state = message;
        this.received = performance.now();
        on.state();
      },
    });
    this.state = null;
    this.received = 0; // ms of the newest state
    this.next = 1;
    // A hidden page is throttled to 1 Hz by the browser: nobody watches the robot there, so the lease may run out.
    setInterval(() => this.state && this.state.dead_man.on && this.send({ alive: true }), RENEW_MS);
  }

  get connected() {
    return this.state !== null && this.open && performance.now() - this.received < STATE_LOST_MS;
  }

  request(action, extra = {}) {
    return this.send({ do: action, id: this.next++, ...extra });
  }
}
