// SPDX-License-Identifier: Apache-2.0
// Words and small elements.
import { color } from "./plot.js";

export const minus = (text) => text.replace("-", "−");

export function item(text, kind) {
  const li = document.createElement("li");
  li.textContent = text;
  li.className = kind;
  return li;
}

export function tag(text, title) {
  return Object.assign(document.createElement("span"), { className: "tag warn", textContent: text, title });
}

// What the timeline draws of a critic's scores, as elements.
export function legend(scores) {
  const part = (hue, text) => {
    const span = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = hue;
    span.append(dot, text);
    return span;
  };
  return scores
    ? [part(color("ROLLOUT"), "V(s)"), part(color("good"), "A positive"), part(color("edge"), "negative"),
         scores.threshold === null ? "" : `η = ${scores.threshold.toFixed(1)} steps`,
         scores.outdated ? tag("scored before the correction", "Label again: value and advantage are those of the labels as they were") : ""]
    : [];
}

// A field of a correction, for people.
export const fieldName = (field) =>
  ({ excluded: "training", start: "begin", stop: "end", deleted: "episode" })[field] ?? field;

// One line of the history. shown: (field, value) -> words.
export function past(line, shown) {
  const li = item("", line.undone ? "undone" : "");
  const what = document.createElement("b"), who = document.createElement("span");
  const name = fieldName(line.field);
  const value = (v) => (line.field === "t_r" ? (v < 0 ? "none" : v) : shown(line.field, v));
  what.textContent = `${line.undo ? "undo: " : ""}${name} ${value(line.old)} → ${value(line.new)}`;
  const at = new Date(line.at);
  who.textContent = `  ${line.by}, ${at.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })}`;
  li.append(what, who);
  li.title = li.textContent;
  return li;
}
