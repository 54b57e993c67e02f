// SPDX-License-Identifier: Apache-2.0
// Camera frames: decode the newest only, acknowledge it when it is drawn, keep fps and age of what is on the screen.
// Wire format: little-endian uint32 sequence number, float64 stamp of the picture in unix s, then the JPEG.
const HEADER = 12;

export class Camera {
  constructor(canvas, acknowledge, serverNow) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.acknowledge = acknowledge;
    this.serverNow = serverNow; // () -> unix s by the supervisor's clock
    this.waiting = null;
    this.busy = false;
    this.drawn = []; // [local ms, age s] of the last frames
    this.total = 0;
  }

  receive(buffer) {
    if (this.waiting) this.acknowledge(new DataView(this.waiting).getUint32(0, true)); // never drawn: a newer one is here
    this.waiting = buffer;
    if (!this.busy) this.draw();
  }

  async draw() {
    this.busy = true;
    while (this.waiting) {
      const buffer = this.waiting;
      this.waiting = null;
      const view = new DataView(buffer);
      try {
        const image = await createImageBitmap(new Blob([new Uint8Array(buffer, HEADER)], { type: "image/jpeg" }));
        if (this.canvas.width !== image.width || this.canvas.height !== image.height) {
          this.canvas.width = image.width;
          this.canvas.height = image.height;
        }
        this.context.drawImage(image, 0, 0);
        image.close();
        this.total += 1;
        this.drawn.push([performance.now(), this.serverNow() - view.getFloat64(4, true)]);
        if (this.drawn.length > 300) this.drawn.shift();
      } catch {
        // A broken picture is skipped: the one on the screen stays, and its age shows.
      }
      this.acknowledge(view.getUint32(0, true));
    }
    this.busy = false;
  }

  numbers() {
    const now = performance.now();
    const recent = this.drawn.filter(([t]) => now - t <= 1000);
    const last = this.drawn[this.drawn.length - 1];
    return { fps: recent.length, age: last ? last[1] + (now - last[0]) / 1000 : null, ages: this.drawn.map(([, age]) => age), total: this.total };
  }
}
