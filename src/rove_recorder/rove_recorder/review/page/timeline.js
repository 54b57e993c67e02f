// SPDX-License-Identifier: Apache-2.0
// Stages, takeover and t_r, value V(s) and advantage of one episode; the pointer scrubs.
import { color, copy, fit, line, still } from "./plot.js";

const LEFT = 84, RIGHT = 14; // px: axis numbers; room for the last label
const MARKS = 17; // px above the stages for takeover and t_r
const STAGES = 24, AXIS = 17, GAP = 9;
const SMALLEST = 0.02; // of V in [-1, 0]: a flat value shows as a flat line
const LINEAR = 5; // steps of advantage

const signed = (value, digits) => `${value > 0 ? "+" : ""}${value.toFixed(digits)}`.replace("-", "−");

export class Timeline {
  constructor(canvas, onSeek) {
    this.canvas = canvas;
    this.model = null;
    const seek = (event) => {
      const box = canvas.getBoundingClientRect();
      if (this.model) onSeek(((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * this.model.length - 0.5);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons & 1 && seek(event));
  }

  // model: length, fps, stages, takeover, t_r, start, stop, split, deleted, exported {t_r}, scores.
  set(model) {
    this.model = model;
    this.layer = null;
  }

  x(frame, width) {
    return LEFT + (frame / this.model.length) * (width - LEFT - RIGHT);
  }

  draw(frame) {
    if (!this.model) return;
    const { width, height } = fit(this.canvas);
    if (!this.layer || this.layer.width !== this.canvas.width || this.layer.height !== this.canvas.height) {
      this.layer = still(this.canvas, (c, w, h) => this.paint(c, w, h));
    }
    const c = copy(this.canvas, this.layer);
    const x = this.x(frame + 0.5, width);
    c.fillStyle = color("dark");
    c.fillRect(x - 2.5, MARKS, 5, height - AXIS - MARKS);
    c.fillStyle = "#fff";
    c.fillRect(x - 1, MARKS, 2, height - AXIS - MARKS);
    c.beginPath();
    c.moveTo(x - 6, height - AXIS + 7);
    c.lineTo(x + 6, height - AXIS + 7);
    c.lineTo(x, height - AXIS - 2);
    c.fill();
  }

  paint(c, width, height) {
    const { model } = this;
    const x = (frame) => this.x(frame, width);
    c.textBaseline = "middle";
    const bottom = height - AXIS;
    const plots = model.scores ? bottom - MARKS - STAGES - GAP : 0;
    const deep = model.scores ? STAGES : Math.min(bottom - MARKS - 26, 48);
    for (const [stage, begin, end] of model.stages) {
      c.fillStyle = color(stage);
      c.fillRect(x(begin), MARKS, Math.max(1.5, x(end) - x(begin)), deep);
      c.font = "600 11.5px system-ui, sans-serif";
      const name = stage.replace("_", " ");
      if (x(end) - x(begin) > c.measureText(name).width + 12) {
        c.fillStyle = color("dark");
        c.fillText(name, x(begin) + 6, MARKS + deep / 2 + 0.5);
      }
    }
    if (model.scores) {
      const half = (plots - GAP) / 2, top = MARKS + STAGES + GAP;
      this.value(c, width, top, half, x);
      this.advantage(c, width, top + half + GAP, half, x);
    } else {
      c.fillStyle = color("dim");
      c.font = "12.5px system-ui, sans-serif";
      c.fillText(model.note, LEFT, MARKS + deep + (bottom - MARKS - deep) / 2);
    }
    this.cuts(c, x, bottom);
    this.marks(c, x, bottom);
    c.fillStyle = color("dim");
    c.font = "11px system-ui, sans-serif";
    const seconds = model.length / model.fps;
    const step = [0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600].find((s) => seconds / s <= 12) || 1200;
    c.textAlign = "center";
    for (let t = 0; t <= seconds + 1e-6; t += step) {
      const at = x(t * model.fps);
      c.fillRect(at, bottom, 1, 4);
      if (at < width - 12) c.fillText(`${Math.round(t * 10) / 10} s`, at, height - AXIS / 2 + 3);
    }
    c.textAlign = "left";
  }

  // What is cut off is dark, a split a dashed line.
  cuts(c, x, bottom) {
    const { start, stop, split, length, deleted } = this.model;
    c.fillStyle = "#000000b0";
    for (const [begin, end] of deleted ? [[0, length]] : [[0, start], [stop, length]]) {
      c.fillRect(x(begin), MARKS, x(end) - x(begin), bottom - MARKS);
    }
    if (split < 0 || deleted) return;
    c.fillStyle = "#fff";
    for (let y = MARKS; y < bottom; y += 8) c.fillRect(x(split) - 1, y, 2, 5);
  }

  marks(c, x, bottom) {
    const { model } = this;
    const mark = (frame, text, hue, dashed, side) => {
      if (frame < 0) return;
      const at = x(frame);
      c.strokeStyle = c.fillStyle = hue;
      c.lineWidth = dashed ? 1.5 : 2;
      c.setLineDash(dashed ? [4, 3] : []);
      c.beginPath();
      c.moveTo(at, dashed ? MARKS : 4);
      c.lineTo(at, bottom);
      c.stroke();
      c.setLineDash([]);
      c.font = "600 11px system-ui, sans-serif";
      if (!side) return;
      c.textAlign = side;
      c.fillText(text, side === "left" ? at + 5 : at - 5, MARKS / 2);
      c.textAlign = "left";
    };
    const both = model.takeover >= 0 && model.t_r >= 0;
    mark(model.takeover, "takeover", "#ffffffb0", false, both || x(model.takeover) > 120 ? "right" : "left");
    if (model.exported.t_r !== model.t_r) mark(model.exported.t_r, "", "#9fd0ff", true, "");
    mark(model.t_r, "t_r", "#ffffff", false, "left");
  }

  axis(c, width, top, height, title, low, high) {
    c.fillStyle = color("card");
    c.fillRect(LEFT, top, width - LEFT - RIGHT, height);
    c.fillStyle = color("dim");
    c.font = "10.5px system-ui, sans-serif";
    c.textAlign = "right";
    c.fillText(high, LEFT - 7, top + 6);
    c.fillText(low, LEFT - 7, top + height - 5);
    c.font = "600 11px system-ui, sans-serif";
    c.textAlign = "left";
    c.fillText(title, 8, top + height / 2);
  }

  value(c, width, top, height, x) {
    const { scores, length } = this.model;
    const known = scores.value.filter((v) => v !== null);
    const high = Math.max(...known), low = Math.min(...known, high - SMALLEST);
    this.axis(c, width, top, height, "V(s)", signed(low, 2), signed(high, 2));
    c.strokeStyle = color("ROLLOUT");
    c.lineWidth = 2;
    c.lineJoin = "round";
    const y = (v) => top + 3 + ((high - v) / (high - low)) * (height - 6);
    line(c, length, (i) => x(i + 0.5), y, (i) => scores.value[i]);
  }

  advantage(c, width, top, height, x) {
    const { scores, length } = this.model;
    const known = scores.advantage.filter((a) => a !== null);
    const eta = scores.threshold;
    const low = Math.min(...known, -1), high = Math.max(...known, eta ?? 0, 1);
    this.axis(c, width, top, height, "A, log", signed(low, 0), signed(high, 0));
    // The penalty at t_r is hundreds of steps, everything else is a few: linear below LINEAR steps, logarithmic beyond.
    const bend = (a) => Math.asinh(a / LINEAR);
    const y = (a) => top + 2 + ((bend(high) - bend(a)) / (bend(high) - bend(low))) * (height - 4);
    const wide = Math.max(1, x(1) - x(0) - (x(1) - x(0) > 3 ? 1 : 0));
    const good = color("good"), rest = color("edge");
    for (let i = 0; i < length; i++) {
      const a = scores.advantage[i];
      if (a === null) continue;
      c.fillStyle = scores.positive[i] ? good : rest;
      c.fillRect(x(i), Math.min(y(a), y(0)), wide, Math.max(1, Math.abs(y(a) - y(0))));
    }
    if (eta === null) return;
    c.strokeStyle = "#ffffffa0";
    c.lineWidth = 1;
    c.setLineDash([4, 4]);
    c.beginPath();
    c.moveTo(LEFT, y(eta));
    c.lineTo(width - RIGHT, y(eta));
    c.stroke();
    c.setLineDash([]);
  }
}
