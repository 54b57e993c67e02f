// SPDX-License-Identifier: Apache-2.0
// Plays the camera frame by frame: pictures come as JPEGs in blocks, so that every frame is exact whatever codec the video has.
const BLOCK = 24; // frames per request; 1.2 s at 20 fps
const KEPT = 80; // blocks in memory: 20 MB of small pictures
const AHEAD = 3; // blocks fetched before they are needed

export class Player {
  constructor(canvas, onFrame, onError) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onFrame = onFrame;
    this.onError = onError;
    this.blocks = new Map(); // first frame -> array of Blobs, or a promise of it
    this.frame = 0;
    this.shown = -1; // frame of the picture on the canvas
    this.length = 0;
    this.fps = 20;
    this.speed = 1;
    this.playing = false;
    this.generation = 0;
    this.decoding = false;
  }

  open(index, length, fps, camera) {
    this.pause();
    this.generation++;
    this.blocks.clear();
    Object.assign(this, { index, length, fps, camera, frame: 0, shown: -1 });
    this.seek(0);
  }

  seek(frame) {
    this.frame = Math.max(0, Math.min(this.length - 1, Math.round(frame)));
    if (this.playing) this.restart();
    this.onFrame(this.frame);
    this.show();
  }

  toggle() {
    if (this.playing) return this.pause();
    if (this.frame >= this.length - 1) this.frame = 0;
    this.playing = true;
    this.restart();
    this.onFrame(this.frame);
    requestAnimationFrame(() => this.tick());
  }

  pause() {
    this.playing = false;
    this.onFrame(this.frame);
  }

  faster(factor) {
    this.speed = Math.max(0.25, Math.min(8, this.speed * factor));
    this.restart();
    this.onFrame(this.frame);
  }

  restart() {
    this.from = this.frame;
    this.since = performance.now();
  }

  tick() {
    if (!this.playing) return;
    const due = this.from + Math.floor(((performance.now() - this.since) / 1000) * this.fps * this.speed);
    // Time waits for the picture: nothing is passed over because it was late.
    if (this.camera && (this.shown !== this.frame || !this.ready(Math.min(due, this.length - 1)))) {
      this.restart();
      this.show();
    } else if (due !== this.frame) {
      this.frame = Math.min(due, this.length - 1);
      this.onFrame(this.frame);
      this.show();
      if (this.frame === this.length - 1) this.pause();
    }
    requestAnimationFrame(() => this.tick());
  }

  ready(frame) {
    return Array.isArray(this.blocks.get(frame - (frame % BLOCK)));
  }

  async block(frame) {
    const start = frame - (frame % BLOCK), generation = this.generation;
    if (!this.blocks.has(start)) {
      const loading = fetchBlock(this.index, start).then(
        (pictures) => {
          if (generation === this.generation) this.blocks.set(start, pictures);
          return pictures;
        },
        (error) => {
          if (generation === this.generation) {
            this.blocks.delete(start);
            this.pause();
            this.onError(String(error.message || error));
          }
          return [];
        },
      );
      this.blocks.set(start, loading);
      for (const old of [...this.blocks.keys()].slice(0, Math.max(0, this.blocks.size - KEPT))) this.blocks.delete(old);
    }
    return this.blocks.get(start);
  }

  async show() {
    if (!this.camera || !this.length || this.decoding) return;
    const generation = this.generation;
    this.decoding = true;
    try {
      while (generation === this.generation && this.shown !== this.frame) {
        const frame = this.frame;
        const pictures = await this.block(frame);
        const blob = pictures[frame % BLOCK];
        if (!blob) return;
        const bitmap = await createImageBitmap(blob);
        if (generation !== this.generation) return;
        if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
          this.canvas.width = bitmap.width;
          this.canvas.height = bitmap.height;
        }
        this.context.drawImage(bitmap, 0, 0);
        bitmap.close();
        this.shown = frame;
        for (let ahead = 1; ahead <= AHEAD; ahead++) {
          const next = frame - (frame % BLOCK) + ahead * BLOCK;
          if (next < this.length) this.block(next);
        }
      }
    } finally {
      this.decoding = false;
      if (generation !== this.generation) this.show();
    }
  }
}

async function fetchBlock(index, start) {
  const answer = await fetch(`api/episode/${index}/pictures?start=${start}&count=${BLOCK}`);
  if (!answer.ok) throw new Error((await answer.json()).error);
  const data = await answer.arrayBuffer();
  const view = new DataView(data);
  const count = view.getUint32(0, true);
  const pictures = [];
  let at = 4 + 4 * count;
  for (let i = 0; i < count; i++) {
    const length = view.getUint32(4 + 4 * i, true);
    pictures.push(new Blob([new Uint8Array(data, at, length)], { type: "image/jpeg" }));
    at += length;
  }
  return pictures;
}
