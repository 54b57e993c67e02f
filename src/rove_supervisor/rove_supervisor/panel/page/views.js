// SPDX-License-Identifier: Apache-2.0
// The robot's cameras: one large, the others as tiles beside it; a click on a tile makes it the large one.
import { $, set } from "./dom.js";
import { paint } from "./pictures.js";

const title = (name) => `${name[0].toUpperCase()}${name.slice(1).replaceAll("_", " ")} camera`;

export class Views {
  // large: the Camera of the large picture, as camera.js has it. tiles: element. label: element that names the large one.
  constructor(large, tiles, label) {
    [this.large, this.tiles, this.label] = [large, tiles, label];
    this.names = []; // of the cameras, in the order of their numbers
    this.chosen = 0; // number of the large one
    this.canvases = new Map(); // number -> canvas of a tile
  }

  // lost: camera -> what is wrong with it, "" if nothing is.
  update(lost) {
    const names = Object.keys(lost);
    if (names.join() !== this.names.join()) {
      this.names = names;
      this.choose(Math.min(this.chosen, Math.max(0, names.length - 1)));
    }
    for (const [number, canvas] of this.canvases) {
      const why = lost[this.names[number]];
      canvas.parentElement.classList.toggle("lost", Boolean(why));
      canvas.parentElement.title = why || "click: large";
    }
  }

  get large_name() {
    return this.names[this.chosen];
  }

  choose(number) {
    this.chosen = number;
    set(this.label, this.names.length ? title(this.names[number]) : "No camera");
    this.canvases.clear();
    this.tiles.replaceChildren(...this.names.flatMap((name, i) => (i === number ? [] : [this.tile(name, i)])));
    this.tiles.hidden = this.names.length < 2;
  }

  tile(name, number) {
    const button = document.createElement("button"), canvas = document.createElement("canvas"), words = document.createElement("span");
    [button.type, button.dataset.camera, words.textContent] = ["button", name, title(name).replace(" camera", "")];
    button.addEventListener("click", () => this.choose(number));
    button.append(canvas, words);
    this.canvases.set(number, canvas);
    return button;
  }

  show(bitmap, stamp, number) {
    if (number === this.chosen) return this.large.show(bitmap, stamp);
    const canvas = this.canvases.get(number);
    if (canvas) paint(canvas, bitmap);
    else bitmap.close();
  }
}
