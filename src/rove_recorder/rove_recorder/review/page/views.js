// SPDX-License-Identifier: Apache-2.0
// The cameras of an episode: one large, the others as tiles beside it; a click on a tile makes it the large one.
const title = (name) => `${name[0].toUpperCase()}${name.slice(1).replaceAll("_", " ")}`;

export class Views {
  // large: canvas. tiles: element. label: element that names the large one. onSwap(): cameras have other canvases.
  constructor(large, tiles, label, onSwap) {
    [this.large, this.tiles, this.label, this.onSwap] = [large, tiles, label, onSwap];
    this.names = [];
    this.large_name = ""; // stays from one episode to the next
    this.canvases = new Map(); // camera of a tile -> canvas
  }

  update(names) {
    if (names.join("/") === this.names.join("/")) return;
    this.names = names;
    this.choose(names.includes(this.large_name) ? this.large_name : names[0] ?? "");
  }

  choose(name) {
    this.large_name = name;
    this.label.textContent = name && title(name);
    this.label.hidden = this.tiles.hidden = this.names.length < 2;
    this.canvases.clear();
    this.tiles.replaceChildren(...this.names.filter((other) => other !== name).map((other) => this.tile(other)));
    this.onSwap();
  }

  tile(name) {
    const button = document.createElement("button"), canvas = document.createElement("canvas"), words = document.createElement("span");
    [button.type, button.dataset.camera, button.title, words.textContent] = ["button", name, "click: large", title(name)];
    button.addEventListener("click", () => this.choose(name));
    button.append(canvas, words);
    this.canvases.set(name, canvas);
    return button;
  }

  canvas(name) {
    return name === this.large_name ? this.large : this.canvases.get(name);
  }
}
