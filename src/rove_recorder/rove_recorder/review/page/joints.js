// SPDX-License-Identifier: Apache-2.0
// State and commanded action of one block's joints, a small chart each; the background tells the stage.
import { color, copy, fit, line, still } from "./plot.js";

const PAD = 12, TITLE = 16, GAP_X = 14, GAP_Y = 7; // px
const SMALLEST = 0.1; // rad: a joint that hardly moves shows as a flat line, not as noise

export class Joints {
  constructor(canvas, onSeek) {
    this.canvas = canvas;
    const seek = (event) => {
      const cell = this.cells?.find((cell) => event.offsetX >= cell.x - GAP_X / 2 && event.offsetX < cell.x + cell.w + GAP_X / 2);
      if (cell) onSeek(((event.offsetX - cell.x) / cell.w) * this.model.length - 0.5);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons & 1 && seek(event));
  }

  // model: names, joints (numbers to show), state and action (Float32Array, T x J), length, count (J), stages, note.
  set(model) {
    this.model = model;
    this.layer = null;
  }

  draw(frame) {
    const { model } = this;
    if (!model) return;
    fit(this.canvas);
    if (!this.layer || this.layer.width !== this.canvas.width || this.layer.height !== this.canvas.height) {
      this.layer = still(this.canvas, (c, w, h) => this.paint(c, w, h));
    }
    const c = copy(this.canvas, this.layer);
    c.textBaseline = "middle";
    for (const cell of this.cells) {
      const at = frame * model.count + cell.joint;
      const x = cell.x + ((frame + 0.5) / model.length) * cell.w;
      c.fillStyle = "#ffffffb0";
      c.fillRect(x - 0.5, cell.y, 1, cell.h);
      if (cell.w < 120) continue;
      c.font = "11px system-ui, sans-serif";
      c.textAlign = "right";
      const action = number(model.action[at]);
      c.fillStyle = color("action");
      c.fillText(action, cell.x + cell.w, cell.y - TITLE / 2);
      c.fillStyle = color("state");
      c.fillText(number(model.state[at]), cell.x + cell.w - 42, cell.y - TITLE / 2);
      c.textAlign = "left";
    }
  }

  paint(c, width, height) {
    const { model } = this;
    this.cells = [];
    c.textBaseline = "middle";
    if (model.note) {
      c.fillStyle = color("dim");
      c.font = "13px system-ui, sans-serif";
      c.textAlign = "center";
      c.fillText(model.note, width / 2, height / 2);
      return;
    }
    const count = model.joints.length;
    const columns = count <= 6 ? Math.min(count, 3) : count <= 8 ? 4 : count <= 15 ? 5 : 10;
    const rows = Math.ceil(count / columns);
    const w = (width - 2 * PAD - (columns - 1) * GAP_X) / columns;
    const h = (height - 8 - (rows - 1) * GAP_Y) / rows - TITLE;
    model.joints.forEach((joint, i) => {
      const cell = { joint, x: PAD + (i % columns) * (w + GAP_X), y: TITLE + Math.floor(i / columns) * (h + TITLE + GAP_Y), w, h };
      this.cells.push(cell);
      this.chart(c, cell);
    });
  }

  chart(c, { joint, x, y, w, h }) {
    const { model } = this;
    let low = Infinity, high = -Infinity;
    for (let i = joint; i < model.state.length; i += model.count) {
      for (const value of [model.state[i], model.action[i]]) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    const middle = (low + high) / 2, span = Math.max(high - low, SMALLEST) * 1.1;
    for (const [stage, begin, end] of model.stages) {
      c.globalAlpha = 0.16;
      c.fillStyle = color(stage);
      c.fillRect(x + (begin / model.length) * w, y, ((end - begin) / model.length) * w, h);
    }
    c.globalAlpha = 1;
    c.save();
    c.beginPath();
    c.rect(x, y, w, h);
    c.clip();
    const at = (i) => x + ((i + 0.5) / model.length) * w;
    const up = (v) => y + (0.5 - (v - middle) / span) * h;
    c.lineJoin = "round";
    for (const [values, hue, thick] of [[model.action, "action", 1.6], [model.state, "state", 1.2]]) {
      c.strokeStyle = color(hue);
      c.lineWidth = thick;
      line(c, model.length, at, up, (i) => values[i * model.count + joint]);
    }
    c.restore();
    c.fillStyle = color("ink");
    c.font = `${w < 120 ? 10 : 11.5}px system-ui, sans-serif`;
    c.textAlign = "left";
    c.fillText(short(c, model.names[joint], w < 120 ? w : w - 84, model.oneSide), x, y - TITLE / 2);
    if (w < 120 || h < 26) return;
    c.fillStyle = color("IDLE");
    c.font = "9.5px system-ui, sans-serif";
    c.strokeStyle = color("card");
    c.lineWidth = 3;
    for (const [value, at] of [[middle + span / 2, y + 6], [middle - span / 2, y + h - 5]]) {
      c.strokeText(number(value), x + 3, at);
      c.fillText(number(value), x + 3, at);
    }
  }
}

const number = (value) => (Number.isFinite(value) ? (Math.round(value * 100) / 100 + 0).toFixed(2).replace("-", "−") : "–");
const SHORTER = [[/^left /, "L "], [/^right /, "R "], ["proximal", "prox."], ["distal", "dist."], ["abduction", "abd."], ["shoulder", "should."]];

function short(c, name, room, oneSide) {
  let text = name.replaceAll("_", " ");
  if (oneSide) text = text.replace(/^(left|right) /, ""); // the tab says it
  if (c.measureText(text).width <= room) return text;
  for (const [long, brief] of SHORTER) text = text.replace(long, brief);
  while (text.length > 3 && c.measureText(text + "…").width > room) text = text.slice(0, -1);
  return c.measureText(text).width > room ? text + "…" : text;
}
