// SPDX-License-Identifier: Apache-2.0
// Rate and age of the camera pictures that are on the screen.
import { paint } from "./pictures.js";

export class Camera {
  constructor(canvas, serverNow) {
    this.canvas = canvas;
    this.serverNow = serverNow; // () -> unix s by the supervisor's clock
    this.shown = []; // [local ms, age s] of the last pictures
    this.total = 0;
  }

  show(bitmap, stamp) {
    paint(this.canvas, bitmap);
    this.total += 1;
    this.shown.push([performance.now(), this.serverNow() - stamp]);
    if (this.shown.length > 300) this.shown.shift();
  }

  numbers() {
    const now = performance.now();
    const recent = this.shown.filter(([t]) => now - t <= 1000);
    const last = this.shown[this.shown.length - 1];
    return { fps: recent.length, age: last ? last[1] + (now - last[0]) / 1000 : null, ages: this.shown.map(([, age]) => age), total: this.total };
  }
}
