// SPDX-License-Identifier: Apache-2.0
// Pictures from the server: the newest one is decoded and shown, then acknowledged; older ones are skipped.
// Wire format: little-endian uint32 number, float64 stamp of the picture in unix s, then the JPEG.
const HEADER = 12;

export class Pictures {
  // show(bitmap, stamp): takes the ImageBitmap over. acknowledge(number).
  constructor(show, acknowledge) {
    this.show = show;
    this.acknowledge = acknowledge;
    this.waiting = null;
    this.busy = false;
    this.total = 0; // shown
  }

  receive(buffer) {
    if (this.waiting) this.acknowledge(new DataView(this.waiting).getUint32(0, true)); // skipped: a newer one is here
    this.waiting = buffer;
    if (!this.busy) this.decode();
  }

  async decode() {
    this.busy = true;
    while (this.waiting) {
      const buffer = this.waiting, view = new DataView(buffer);
      this.waiting = null;
      try {
        const bitmap = await createImageBitmap(new Blob([new Uint8Array(buffer, HEADER)], { type: "image/jpeg" }));
        this.show(bitmap, view.getFloat64(4, true));
        this.total += 1;
      } catch (error) { // the picture on the screen stays, and its age shows
        console.warn("a picture cannot be decoded", error);
      }
      this.acknowledge(view.getUint32(0, true));
    }
    this.busy = false;
  }
}

// Draw a bitmap into a canvas of its size, and let it go.
export function paint(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
}
