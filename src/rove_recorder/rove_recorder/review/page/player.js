// SPDX-License-Identifier: Apache-2.0
// Plays the cameras frame by frame: pictures come as JPEGs in blocks, so that every frame is exact whatever codec the video has.
import { paint } from "./pictures.js";

const BLOCK = 24; // frames per request; 1.2 s at 20 fps
const KEPT = 80; // blocks in memory, of each camera: 20 MB of small pictures
const AHEAD = 3; // blocks fetched before they are needed

export class Player {
  // canvasOf: camera -> canvas that shows it now.
  constructor(canvasOf, onFrame, onError) {
    this.canvasOf = canvasOf;
    this.cameras = []; // names
    this.onFrame = onFrame;
    this.onError = onError;
    this.blocks = new Map(); // "first frame/camera" -> array of Blobs, or a promise of it
    this.frame = 0;
    this.shown = -1; // frame of the pictures on the canvases
    this.length = 0;
    this.fps = 20;
    this.speed = 1;
    this.playing = false;
    this.generation = 0;
    this.decoding = false;
  }

  open(index, length, fps, cameras) {
    this.pause();
    this.generation++;
    this.blocks.clear();
    Object.assign(this, { index, length, fps, cameras, frame: 0, shown: -1 });
    this.seek(0);
  }

  seek(frame) {
    this.frame = Math.max(0, Math.min(this.length - 1, Math.round(frame)));
    if (this.playing) this.restart();
    this.onFrame(this.frame);
    this.show();
  }

  // The same frame again: a camera has another canvas.
  redraw() {
    this.shown = -1;
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
    if (this.cameras.length && (this.shown !== this.frame || !this.ready(Math.min(due, this.length - 1)))) {
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
    return this.cameras.every((camera) => Array.isArray(this.blocks.get(`${frame - (frame % BLOCK)}/${camera}`)));
  }

  async block(frame, camera) {
    const start = frame - (frame % BLOCK), generation = this.generation, key = `${start}/${camera}`;
    if (!this.blocks.has(key)) {
      const loading = fetchBlock(this.index, start, camera).then(
        (pictures) => {
          if (generation === this.generation) this.blocks.set(key, pictures);
          return pictures;
        },
        (error) => {
          if (generation === this.generation) {
            this.blocks.delete(key);
            this.pause();
            this.onError(String(error.message || error));
          }
          return [];
        },
      );
      this.blocks.set(key, loading);
      const most = KEPT * this.cameras.length;
      for (const old of [...this.blocks.keys()].slice(0, Math.max(0, this.blocks.size - most))) this.blocks.delete(old);
    }
    return this.blocks.get(key);
  }

  async show() {
    if (!this.cameras.length || !this.length || this.decoding) return;
    const generation = this.generation;
    this.decoding = true;
    try {
      while (generation === this.generation && this.shown !== this.frame) {
        const frame = this.frame;
        const blocks = await Promise.all(this.cameras.map((camera) => this.block(frame, camera)));
        const blobs = blocks.map((pictures) => pictures[frame % BLOCK]);
        if (!blobs.every(Boolean)) return;
        const bitmaps = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
        if (generation !== this.generation) return bitmaps.forEach((bitmap) => bitmap.close());
        // All cameras at once: what is side by side on the page is one moment.
        bitmaps.forEach((bitmap, i) => paint(this.canvasOf(this.cameras[i]), bitmap));
        this.shown = frame;
        for (let ahead = 1; ahead <= AHEAD; ahead++) {
          const next = frame - (frame % BLOCK) + ahead * BLOCK;
          if (next < this.length) for (const camera of this.cameras) this.block(next, camera);
        }
      }
    } finally {
      this.decoding = false;
      if (generation !== this.generation) this.show();
    }
  }
}

async function fetchBlock(index, start, camera) {
  const answer = await fetch(`api/episode/${index}/pictures?start=${start}&count=${BLOCK}&camera=${encodeURIComponent(camera)}`);
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
