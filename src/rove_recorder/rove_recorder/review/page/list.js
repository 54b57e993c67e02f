// SPDX-License-Identifier: Apache-2.0
// One episode of the list, and the filters.
import { color } from "./plot.js";

const words = (name) => name.replaceAll("_", " ").toLowerCase();

export const stages = (episode) => episode.stages.map(([stage]) => stage);

// A select with the values that occur, sorted; keeps the choice.
export function fill(select, everything, values) {
  const chosen = select.value;
  const options = [...new Set(values)].sort().map((value) => new Option(value === "none" ? "unknown" : words(value), value));
  select.replaceChildren(new Option(everything, ""), ...options);
  if ([...select.options].some((option) => option.value === chosen)) select.value = chosen;
}

const USE = { used: (e) => e.trained, excluded: (e) => e.excluded, unused: (e) => !e.trained };
const ATTENTION = { flagged: (e) => e.flags.length > 0, clean: (e) => e.flags.length === 0, corrected: (e) => e.corrected.length > 0 };

export function matches(e, { text, task, outcome, stage, kind, use, attention }) {
  const hay = [`episode ${e.index}`, e.episode_id, e.task, e.operator, e.kind, e.start_stage, e.milestone, e.outcome, ...e.flags].join(" ").toLowerCase();
  return (
    text.toLowerCase().split(/\s+/).every((word) => hay.includes(word)) &&
    (!task || e.task === task) &&
    (!outcome || e.outcome === outcome) &&
    (!stage || stages(e).includes(stage)) &&
    (!kind || e.kind === kind) &&
    (!use || USE[use](e)) &&
    (!attention || ATTENTION[attention](e))
  );
}

function make(tag, kind, text = "") {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = text;
  return element;
}

export function row(e) {
  const item = make("li", e.trained ? "" : "out");
  item.dataset.index = e.index;
  item.dataset.outcome = e.outcome;
  const one = make("div", "one"), two = make("div", "two"), strip = make("div", "");
  one.append(make("i", ""), make("b", "", `Episode ${e.index}`), make("span", "", words(e.kind)), make("em", "", `${e.seconds.toFixed(1)} s`));
  for (const [stage, begin, end] of e.stages) {
    const part = make("u", "");
    part.style.flex = end - begin;
    part.style.background = color(stage);
    strip.append(part);
  }
  two.append(strip);
  const tag = (kind, text, title) => {
    const label = make("span", `tag ${kind}`, text);
    label.title = title;
    two.append(label);
  };
  if (e.deleted) tag("out", "deleted", "Not trained on, and not in what bake writes");
  else if (e.excluded) tag("out", "excluded", "Not trained on");
  else if (!e.trained) tag("out", e.outcome === "none" ? "unknown" : e.outcome, "Not trained on: the outcome is neither success nor failure");
  if (e.corrected.length) tag("edit", "✎", `Corrected: ${e.corrected.join(", ")}`);
  if (e.flags.length) tag("warn", `⚠ ${e.flags.length}`, e.flags.join("\n"));
  item.append(one, two);
  item.title = [e.episode_id, e.task, e.outcome === "none" ? "outcome unknown" : e.outcome, e.milestone && `reached: ${e.milestone}`].filter(Boolean).join("\n");
  return item;
}

// The dataset in one line.
export function summary(data) {
  const hours = data.episodes.reduce((sum, e) => sum + e.seconds, 0) / 3600;
  const size = hours >= 1 ? `${hours.toFixed(1)} h` : `${(hours * 60).toFixed(1)} min`;
  const successes = data.episodes.filter((e) => e.outcome === "success").length;
  return `${data.episodes.length} episodes, ${size} at ${data.fps} fps, ${successes} successes, `
    + `${data.episodes.filter((e) => e.trained).length} trained on, ${data.episodes.filter((e) => e.corrected.length).length} corrected`;
}
