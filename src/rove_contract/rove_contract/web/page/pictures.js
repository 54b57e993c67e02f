// SPDX-License-Identifier: Apache-2.0
// Pictures from the server: of each camera the newest one is decoded and shown, then acknowledged; older ones are skipped.
// Wire format: little-endian uint32 number, float64 stamp of the picture in unix s, then the JPEG. The upper 4 bits of
// the number are the camera's.
const HEADER = 12;

export class Pictures {
  // show(bitmap, stamp, camera): takes the ImageBitmap over. acknowledge(number).
  constructor(show, acknowledge) {
    this.show = show;
    this.acknowledge = acknowledge;
    this.waiting = new Map(); // camera -> buffer
    this.busy = new Set(); // cameras
    this.total = 0; // shown
  }

  receive(buffer) {
    const number = new DataView(buffer).getUint32(0, true), camera = number >>> 28;
    const before = this.waiting.get(camera);
    if (before) this.acknowledge(new DataView(before).getUint32(0, true)); // skipped: a newer one is here
    this.waiting.set(camera, buffer);
    if (!this.busy.has(camera)) this.decode(camera);
  }

  async decode(camera) {
    this.busy.add(camera);
    while (this.waiting.has(camera)) {
      const buffer = this.waiting.get(camera), view = new DataView(buffer);
      this.waiting.delete(camera);
      try {
        const bitmap = await createImageBitmap(new Blob([new Uint8Array(buffer, HEADER)], { type: "image/jpeg" }));
        this.show(bitmap, view.getFloat64(4, true), camera);
        this.total += 1;
      } catch (error) { // the picture on the screen stays, and its age shows
        console.warn("a picture cannot be decoded", error);
      }
      this.acknowledge(view.getUint32(0, true));
    }
    this.busy.delete(camera);
  }
}

// Draw a bitmap into a canvas of its size, and let it go.
export function paint(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
}
