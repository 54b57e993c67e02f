// SPDX-License-Identifier: Apache-2.0
// The review page: list and filters, the open episode, keys, and corrections.
import { action, showKeys } from "./keys.js";
import { fill, matches, row, stages, summary } from "./list.js";
import { Joints } from "./joints.js";
import { Player } from "./player.js";
import { color } from "./plot.js";
import { request } from "./server.js";
import { Timeline } from "./timeline.js";
import { Views } from "./views.js";
import { fieldName, item, legend, minus, past } from "./words.js";

const $ = (id) => document.getElementById(id);
const FILTERS = ["text", "task", "outcome", "stage", "kind", "use", "attention"];
const UNSCORED = "No critic has scored this episode; `rove run rove_learning label` writes value and advantage.";

let data = null; // the dataset with all episodes
let shown = []; // episodes that pass the filters
let episode = null; // the open one
let arrays = null; // its joints
let group = 0;
let busy = false;

const views = new Views($("camera"), $("tiles"), $("camera-name"), () => player.redraw());
const player = new Player((camera) => views.canvas(camera), draw, (text) => say(text, "bad"));
const timeline = new Timeline($("timeline"), (frame) => player.seek(frame));
const joints = new Joints($("joints"), (frame) => player.seek(frame));

function lost(yes) {
  $("lost").hidden = !yes;
  $("lost").textContent = "No connection: is `rove run rove_recorder review` still running? Nothing is stored until it is.";
}

const ask = (path, body) => request(path, body, lost);

function say(text, kind = "") {
  $("hint").textContent = text;
  $("hint").className = `hint ${kind}`;
  $("hint").title = text;
}

// -- episodes -----------------------------------------------------------------------------------------------------------------

async function load() {
  data = await (await ask("api/dataset")).json();
  $("dataset").textContent = data.name;
  document.title = `${data.name} – ROVE review`;
  $("by").textContent = data.by;
  $("dataset-detail").textContent = summary(data);
  $("critic").hidden = !data.scores.length;
  const chosen = $("scores").value;
  $("scores").replaceChildren(...data.scores.map((name) => new Option(name, name)));
  if (data.scores.includes(chosen)) $("scores").value = chosen;
  fill($("f-task"), "All tasks", data.episodes.map((e) => e.task));
  fill($("f-outcome"), "All outcomes", data.episodes.map((e) => e.outcome));
  fill($("f-stage"), "All stages", data.episodes.flatMap((e) => stages(e)));
  fill($("f-kind"), "All kinds", data.episodes.map((e) => e.kind).filter(Boolean));
}

function filters() {
  return Object.fromEntries(FILTERS.map((key) => [key, $(`f-${key}`).value.trim()]));
}

function list() {
  const wanted = filters();
  shown = data.episodes.filter((e) => matches(e, wanted));
  for (const key of FILTERS) $(`f-${key}`).classList.toggle("set", wanted[key] !== "");
  $("count").textContent = shown.length === data.episodes.length ? `${shown.length} episodes` : `${shown.length} of ${data.episodes.length} episodes`;
  $("clear").hidden = !Object.values(wanted).some(Boolean);
  const none = document.createElement("li");
  none.className = "none";
  none.textContent = data.episodes.length ? "No episode passes these filters." : "The dataset has no episodes.";
  $("episodes").replaceChildren(...(shown.length ? shown.map(row) : [none]));
  mark();
  remember();
}

function mark() {
  for (const item of $("episodes").children) {
    const open = episode !== null && Number(item.dataset.index) === episode.index;
    item.classList.toggle("open", open);
    if (open) item.scrollIntoView({ block: "nearest" });
  }
}

function remember() {
  const values = Object.entries({ episode: episode?.index ?? "", ...filters() }).filter(([, value]) => value !== "");
  history.replaceState(null, "", `#${new URLSearchParams(values)}`);
}

async function open(index) {
  const [told, bytes] = await Promise.all([
    ask(`api/episode/${index}?scores=${encodeURIComponent($("scores").value)}`).then((answer) => answer.json()),
    ask(`api/episode/${index}/joints`).then((answer) => answer.arrayBuffer()),
  ]);
  const fresh = episode?.index !== told.index;
  episode = told;
  const half = episode.length * data.joints.length;
  arrays = { state: new Float32Array(bytes, 0, half), action: new Float32Array(bytes, 4 * half, half) };
  if (fresh) {
    $("camera-note").hidden = data.cameras.length > 0;
    $("camera-note").textContent = "This dataset has no camera.";
    views.update(data.cameras);
    player.open(episode.index, episode.length, data.fps, data.cameras);
    say(episode.scores_error, "bad");
  }
  show();
  mark();
  remember();
}

async function step(by) {
  const at = shown.findIndex((e) => e.index === episode?.index);
  const next = shown[at < 0 ? 0 : at + by];
  if (next) await open(next.index);
  else say(by > 0 ? "This is the last episode of the list." : "This is the first episode of the list.");
}

// -- the open episode ---------------------------------------------------------------------------------------------------------

const time = (frame) => `${(frame / data.fps).toFixed(2)} s`;
const frames = (t_r) => (t_r < 0 ? "none" : `frame ${t_r} · ${time(t_r)}`);
const SHOWN = {
  t_r: frames, start: frames, split: frames, stop: (value) => frames(value - 1), task: (value) => `“${value}”`,
  excluded: (value) => (value ? "excluded" : "included"), deleted: (value) => (value ? "deleted" : "kept"),
};
const shownValue = (field, value) => SHOWN[field]?.(value) ?? (value === "none" ? "unknown" : value);
const CUTS = ["start", "stop", "split"];

function cutText(e) {
  const kept = e.start > 0 || e.stop < e.length ? `frames ${e.start} to ${e.stop - 1}` : "whole";
  return e.deleted ? "deleted" : kept + (e.split < 0 ? "" : `, split at ${e.split}`);
}

function show() {
  const e = episode;
  $("episode").textContent = `Episode ${e.index}`;
  $("episode-detail").textContent = [e.task, e.kind.replace("_", " "), e.operator && `by ${e.operator}`, e.start_stage !== "start" && `from ${e.start_stage}`, e.milestone && `reached: ${e.milestone}`, e.episode_id]
    .filter(Boolean).join(" · ");
  $("episode-detail").title = $("episode-detail").textContent;
  for (const button of $("field-outcome").querySelectorAll("button")) {
    button.classList.toggle("on", button.dataset.value === e.outcome);
    button.setAttribute("aria-pressed", button.dataset.value === e.outcome);
  }
  $("t_r").textContent = frames(e.t_r);
  for (const name of ["set_t_r", "clear_t_r"]) document.querySelector(`[data-do=${name}]`).disabled = e.takeover < 0;
  document.querySelector("[data-do=go_takeover]").disabled = e.takeover < 0;
  document.querySelector("[data-do=go_t_r]").disabled = e.t_r < 0;
  $("cut").textContent = cutText(e);
  const edited = ["task", "deleted", ...CUTS].filter((field) => e.corrected.includes(field));
  $("was-edits").hidden = !edited.length;
  $("was-edits").title = edited.map((field) => `${fieldName(field)} exported as: ${shownValue(field, e.exported[field])}`).join("\n");
  $("delete").firstChild.textContent = e.deleted ? "Restore " : "Delete ";
  $("training").textContent = e.deleted ? "Deleted" : CUTS.some((field) => e.corrected.includes(field)) ? "After bake" : e.excluded ? "Excluded" : e.trained ? "Trained on" : `Not: outcome ${e.outcome === "none" ? "unknown" : e.outcome}`;
  $("training").title = "A dataset with trimmed or split episodes is trained on once `rove run rove_recorder bake` has written them";
  $("training").className = e.trained ? "good" : "bad";
  $("exclude").firstChild.textContent = e.excluded ? "Include " : "Exclude ";
  for (const field of ["outcome", "t_r", "excluded"]) {
    $(`was-${field}`).hidden = !e.corrected.includes(field);
    $(`was-${field}`).title = `Corrected; exported as: ${shownValue(field, e.exported[field])}`;
  }
  $("flags").replaceChildren(...(e.flags.length ? e.flags : ["nothing suspicious"]).map((text) => item(text, e.flags.length ? "" : "none")), item(e.quality, "figures"));
  $("undo").disabled = !e.undoable;
  $("history").replaceChildren(
    ...(e.history.length ? [...e.history].reverse().map((line) => past(line, shownValue)) : [item("none yet", "none")]),
  );
  const note = e.scores_error || UNSCORED;
  timeline.set({ ...e, fps: data.fps, note });
  chooseGroup(group);
  $("legend").replaceChildren(...legend(episode.scores));
  draw(player.frame);
}

function chooseGroup(number) {
  const all = data.groups.length;
  group = Math.min(number, all);
  const titles = [...data.groups.map((g) => g.title), "All"];
  $("tabs").replaceChildren(
    ...(data.joints.length ? titles : []).map((title, i) => {
      const button = document.createElement("button"), key = document.createElement("kbd");
      button.type = "button";
      button.dataset.group = i;
      button.setAttribute("role", "tab");
      button.setAttribute("aria-selected", i === group);
      key.textContent = i + 1;
      button.append(`${title} `, key);
      return button;
    }),
  );
  const robot = arrays.state.some((v) => !Number.isNaN(v));
  joints.set({
    names: data.joints, joints: group === all ? data.joints.map((_, i) => i) : data.groups[group].joints, ...arrays, length: episode.length,
    count: data.joints.length, stages: episode.stages, oneSide: group !== all, note: robot ? "" : "A person's video: there is no robot in it.",
  });
}

function draw(frame) {
  if (!episode) return;
  timeline.draw(frame);
  joints.draw(frame);
  $("clock").replaceChildren(Object.assign(document.createElement("b"), { textContent: frame }), ` / ${episode.length - 1} · `,
    Object.assign(document.createElement("b"), { textContent: time(frame) }));
  $("clock").title = `Frame ${frame} of 0 to ${episode.length - 1}, ${time(frame)} of ${time(episode.length - 1)}`;
  $("play").textContent = player.playing ? "Pause" : "Play";
  $("speed").textContent = `${player.speed}×`;
  const stage = episode.stages.find(([, begin, end]) => begin <= frame && frame < end)?.[0] ?? "NONE";
  $("stage-now").textContent = stage.replace("_", " ");
  $("stage-now").style.background = color(stage);
  const scores = episode.scores, value = scores?.value[frame], advantage = scores?.advantage[frame];
  const parts = [];
  if (value != null) parts.push("V(s) ", Object.assign(document.createElement("b"), { textContent: minus(value.toFixed(3)) }),
    scores.scale === null ? "" : minus(` = ${Math.round(value * scores.scale)} steps`));
  if (advantage != null) parts.push(" · A ", Object.assign(document.createElement("b"), { textContent: minus(advantage.toFixed(1)) }),
    scores.positive[frame] ? " positive" : " negative");
  $("value-now").replaceChildren(...parts);
}

// -- corrections --------------------------------------------------------------------------------------------------------------

async function store(path, body, done) {
  if (busy) return say("Still storing the last correction.");
  busy = true;
  try {
    const brief = await (await ask(path, body)).json();
    const before = { ...episode };
    const known = data.episodes.findIndex((e) => e.index === brief.index);
    data.episodes[known] = brief;
    $("dataset-detail").textContent = summary(data);
    if (episode.index === brief.index) episode = { ...episode, ...brief, scores: episode.scores && { ...episode.scores, outdated: true } };
    say(done(before, brief), "good");
    const item = [...$("episodes").children].find((li) => Number(li.dataset.index) === brief.index);
    item?.replaceWith(row(brief)); // it stays in the list until the filters are applied again
    mark();
    show();
  } catch (error) {
    say(error.message, "bad");
  } finally {
    busy = false;
  }
}

function correct(field, value) {
  if (!episode) return;
  player.pause();
  const told = (before, after) =>
    before[field] === after[field]
      ? `${fieldName(field)}: ${shownValue(field, after[field])} already`
      : `${fieldName(field)}: ${shownValue(field, before[field])} → ${shownValue(field, after[field])}; stored. Z undoes it.`
        + (after.excluded && field === "outcome" && ["success", "failure"].includes(after.outcome) ? " Still excluded: X includes it." : "");
  return store("api/correct", { episode: episode.index, field, value, expected: episode[field] }, told);
}

function undo() {
  if (!episode) return;
  if (!episode.undoable) return say("This episode has no correction to undo.", "bad");
  return store("api/undo", { episode: episode.index }, (_, after) => {
    const line = after.history.at(-1);
    return `Undone: ${fieldName(line.field)} is ${shownValue(line.field, line.new)} again.`;
  });
}

// Three corrections at most, each undone for itself.
async function uncut() {
  if (!episode) return;
  const whole = { split: -1, start: 0, stop: episode.length };
  const cut = Object.keys(whole).filter((field) => episode[field] !== whole[field]);
  if (!cut.length) return say("This episode is neither trimmed nor split.");
  for (const field of cut) await correct(field, whole[field]);
}

function rename() {
  if (!episode) return;
  player.pause();
  const text = window.prompt("The task of this episode, as the policy is told it", episode.task);
  if (text !== null) return correct("task", text);
}

// -- keys and buttons ---------------------------------------------------------------------------------------------------------

const second = () => Math.round(data.fps);
const ACTIONS = {
  play: () => player.toggle(), back: () => seek(player.frame - 1), forward: () => seek(player.frame + 1),
  back_s: () => seek(player.frame - second()), forward_s: () => seek(player.frame + second()),
  begin: () => seek(0), end: () => seek(Infinity), slower: () => player.faster(0.5), faster: () => player.faster(2),
  next: () => step(1), previous: () => step(-1),
  success: () => correct("outcome", "success"), failure: () => correct("outcome", "failure"),
  aborted: () => correct("outcome", "aborted"), unknown: () => correct("outcome", "none"),
  set_t_r: () => correct("t_r", player.frame), clear_t_r: () => correct("t_r", -1), exclude: () => correct("excluded", !episode.excluded), undo,
  set_start: () => correct("start", player.frame), set_stop: () => correct("stop", player.frame + 1),
  set_split: () => correct("split", player.frame), uncut, rename, delete: () => correct("deleted", !episode.deleted),
  go_takeover: () => (episode.takeover < 0 ? say("Nobody took over in this episode.", "bad") : seek(episode.takeover)),
  go_t_r: () => (episode.t_r < 0 ? say("This episode has no t_r.", "bad") : seek(episode.t_r)),
  search: () => $("f-text").focus(), help: () => $("help").showModal(),
};
function seek(frame) {
  player.seek(Math.min(frame, episode.length - 1));
}

async function act(name) {
  if (!episode && !["help", "search", "next", "previous"].includes(name)) return;
  try {
    await ACTIONS[name]();
  } catch (error) {
    say(error.message, "bad");
  }
}

document.addEventListener("keydown", (event) => {
  if ($("help").open) return;
  if (event.target.closest("input, select")) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "f-text")) event.target.blur();
    return;
  }
  if (event.altKey || event.metaKey) return;
  const name = action(event);
  if (name) {
    event.preventDefault();
    const held = ["back", "forward", "back_s", "forward_s", "next", "previous"].includes(name);
    if (!event.repeat || held) act(name);
  } else if (!event.ctrlKey && /^[1-9]$/.test(event.key) && episode && Number(event.key) <= data.groups.length + 1) {
    chooseGroup(Number(event.key) - 1);
    draw(player.frame);
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.do) act(button.dataset.do);
  if (button?.dataset.group) {
    chooseGroup(Number(button.dataset.group));
    draw(player.frame);
  }
  if (button?.id === "clear") {
    for (const key of FILTERS) $(`f-${key}`).value = "";
    list();
  }
  if (button && !button.closest("dialog")) button.blur(); // Space plays, whatever was clicked before
  const chosen = event.target.closest("#episodes li[data-index]");
  if (chosen) open(Number(chosen.dataset.index)).catch((error) => say(error.message, "bad"));
});
$("filters").addEventListener("input", list);
$("filters").addEventListener("change", (event) => event.target.tagName === "SELECT" && event.target.blur());
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("scores").addEventListener("change", () => {
  $("scores").blur();
  if (episode) open(episode.index).catch((error) => say(error.message, "bad"));
});
new ResizeObserver(() => draw(player.frame)).observe(document.body);
document.addEventListener("visibilitychange", async () => {
  if (document.hidden || !data) return;
  try { // what was exported, scored or corrected meanwhile
    await load();
    list();
    if (episode) await open(episode.index);
  } catch (error) {
    say(error.message, "bad");
  }
});

showKeys($("quick-keys"), $("all-keys"));

window.review = { // for tests and the curious
  episode: () => episode, shown: () => shown.map((e) => e.index), frame: () => player.frame, drawn: () => player.shown, large: () => views.large_name, seek: (frame) => player.seek(frame), playing: () => player.playing,
  scores: () => episode?.scores,
};
try {
  await load();
  const values = new URLSearchParams(location.hash.slice(1));
  for (const key of FILTERS) {
    const field = $(`f-${key}`), value = values.get(key) ?? "";
    if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
  }
  list();
  const wanted = values.get("episode");
  const first = data.episodes.some((e) => String(e.index) === wanted) ? Number(wanted) : shown[0]?.index;
  if (first !== undefined) await open(first);
  else say("Nothing to show.");
} catch (error) {
  say(error.message, "bad");
}
