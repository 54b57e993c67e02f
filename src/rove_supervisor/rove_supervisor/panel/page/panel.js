// SPDX-License-Identifier: Apache-2.0
// The panel's page: shows what the supervisor says, sends what the person presses. The mode lives in the supervisor, never here.
import { Camera } from "./camera.js";
import { Views } from "./views.js";
import { CONTROLS, LIKELY, SENTENCES, TITLES } from "./controls.js";
import { $, attribute, color, hide, list, ms, set } from "./dom.js";
import * as ghost from "./ghost.js";
import * as session from "./session.js";
import * as audio from "./sound.js";
import { Supervisor } from "./state.js";
import * as timeline from "./timeline.js";

const HOLD_MS = 400; // Space: a stray tap is shorter
const FORCE_MS = 3000; // the second press of "force" must come within
const BEEP_MS = 4000; // advice that stays is repeated
const SILENT_S = 0.5; // a source that sends nothing for so long is silent
const KEYS = Object.fromEntries(Object.entries(CONTROLS).map(([action, { key }]) => [key, action]).filter(([key]) => key !== " ")); // Space is held

// A button's name, its key and room for what it does come from the supervisor's table.
const shownKey = (key) => (key === key.toLowerCase() ? key.toUpperCase() : `⇧${key}`);
const part = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
for (const button of document.querySelectorAll("button:empty")) {
  const action = button.dataset.do || button.dataset.switch, control = CONTROLS[action];
  button.append(part("b", control.name), part("kbd", shownKey(control.key)));
  if (control.purpose || button.dataset.switch) button.append(part("small", ""));
}
const buttons = [...document.querySelectorAll("button[data-do]")];
let armedUntil = 0, hintUntil = 0, sound = true, shownMode = "";

const camera = new Camera($("camera"), () => link.serverNow());
const views = new Views(camera, $("tiles"), $("camera-name"));
const link = new Supervisor({ state: show, picture: (bitmap, stamp, number) => views.show(bitmap, stamp, number), reply, lost: show });
const name = (action) => CONTROLS[action]?.name ?? action;

function request(action, extra = {}) {
  const why = reason(action);
  if (why && action !== "estop") return hint(`${name(action)}: ${why}`, "bad");
  if (action === "force_takeover") {
    if (performance.now() > armedUntil) { armedUntil = performance.now() + FORCE_MS; hint("Press again within 3 s: the robot moves to the operator's pose", "bad"); return show(); }
    armedUntil = 0;
  }
  const sent = link.request(action, extra);
  if (!sent) hint(action === "estop" ? "NOT SENT: no connection to the supervisor. Use the robot's own emergency stop" : `${name(action)}: no connection to the supervisor`, "bad");
  const button = buttons.find((b) => b.dataset.do === action);
  if (sent && button) { button.classList.add("sent"); setTimeout(() => button.classList.remove("sent"), 150); }
}

// What a key or a button that is no transition does.
const OTHERS = {
  sound: () => { sound = !sound; show(); if (sound) audio.beep(); },
  dead_man: () => link.connected && request("dead_man", { on: !link.state.dead_man.on }),
  auto_pause: () => link.connected && request("auto_pause", { on: !link.state.auto_pause }),
  start_stage: () => link.connected && link.state.session.proposed_stage !== link.state.session.start_stage && request("start_stage", { stage: link.state.session.proposed_stage }),
};
const act = (action) => (OTHERS[action] || request)(action);

function reply({ ok, text, do: action }) {
  hint(ok ? (action in OTHERS ? text[0].toUpperCase() + text.slice(1) : `${name(action)}: ${text}`) : action ? `${name(action)} refused: ${text}` : text, ok ? "good" : "bad");
}

function hint(text, kind = "") {
  $("hint").className = `hint ${kind}`;
  set($("hint"), text);
  hintUntil = performance.now() + 6000;
}

// Why a button cannot be pressed now; "" if it can.
function reason(action) {
  if (!link.connected) return "no connection to the supervisor";
  const { actions } = link.state;
  if (action === "force_takeover" && !actions.force_takeover && !actions.takeover) return "not needed: the operator is aligned, press Take over";
  const why = actions[action] || "", table = why.match(/^\w+ is (not possible in \w+); possible here: (.*)$/);
  return table ? `${name(action)} is ${table[1]}. Possible: ${table[2].split(", ").map(name).join(", ")}` : why;
}

function show() {
  const live = link.connected, state = link.state;
  attribute(document.body, "data-link", live ? "up" : "down");
  const mode = live ? state.mode : "NONE";
  if (shownMode !== mode) { // first: it is what the person waits for
    shownMode = document.body.dataset.mode = mode;
    set($("mode"), !live ? "NO CONNECTION" : TITLES[mode]);
    document.title = live ? `${mode} · ROVE` : "No connection · ROVE";
  }
  for (const button of buttons) showButton(button, live);
  const armed = performance.now() < armedUntil;
  $("force").classList.toggle("armed", armed);
  set($("force").querySelector("b"), armed ? "Press again" : `${CONTROLS.force_takeover.name}…`);
  if (performance.now() > hintUntil) { $("hint").className = "hint"; set($("hint"), ""); }
  if (!live) {
    set($("mode"), "NO CONNECTION");
    set($("mode-words"), link.refused || (state ? `Last known mode: ${state.mode}. Trying again` : "Connecting to the supervisor"));
    advise("", "");
    hide($("camera-lost"), false);
    set($("camera-lost"), "No connection");
    return;
  }
  set($("mode-words"), SENTENCES[state.mode]);
  session.show(state.session, state.links.recorder, Boolean(state.episode) && state.episode.state === "active");
  showLinks(state.links);
  showAlignment(state.alignment);
  showLatency(state.latency);
  showSwitches(state);
  advise(state.advice, state.notice);
  showEpisode();
  ghost.draw($("ghost"), state.ghost || {}, color("ADAPTATION"));
  const rows = state.warnings.length ? state.warnings : [{ who: "", text: "None", level: -1 }];
  list($("warnings"), rows, (row) => [row.who ? `${row.who}: ${row.text}` : row.text, { level: row.level }, row.level < 0 ? "none" : ""]);
  set($("panel-numbers"), `${state.panel.clients} panel${state.panel.clients === 1 ? "" : "s"} open`);
}

function showButton(button, live) {
  const action = button.dataset.do;
  if (action === "estop") return;
  const why = reason(action), best = live && LIKELY[link.state.mode] === action;
  if (button.disabled !== Boolean(why)) button.disabled = Boolean(why);
  if (button.classList.contains("best") !== best) button.classList.toggle("best");
  const small = button.querySelector("small");
  // Forbidden by the mode: the tooltip says it. Possible in this mode but a condition is missing: the button says it.
  if (small) set(small, why && live && !why.includes("not possible in") ? brief(action, why) : CONTROLS[action].purpose);
  attribute(button, "aria-description", why || CONTROLS[action].purpose || "");
  explain(button.parentElement, why);
}

// Room for a few words only; the alignment below and the tooltip have the whole sentence.
const brief = (action, why) => (action !== "takeover" ? why : why.startsWith("misaligned") ? "not aligned" : "no operator");

function showSwitches(state) {
  const on = { sound, auto_pause: state.auto_pause, dead_man: state.dead_man.on };
  const holder = state.dead_man.holder;
  const texts = {
    sound: !sound ? "off" : audio.ready() ? "on" : "touch once",
    auto_pause: state.auto_pause ? "on" : "off",
    dead_man: !state.dead_man.on ? "off" : !holder ? "on" : holder === link.name ? "you hold it" : holder,
  };
  for (const button of document.querySelectorAll("button[data-switch]")) {
    const key = button.dataset.switch;
    attribute(button, "aria-pressed", String(on[key]));
    set(button.querySelector("small"), texts[key]);
  }
}

// Reasons on hover and on touch: a disabled button gets no events, so its frame does.
const tip = $("tip");
let explained = null; // the frame under the pointer
function explain(act, why) {
  if (act.dataset.why === why) return;
  act.dataset.why = why;
  if (act === explained && !tip.hidden) { tip.textContent = why; tip.hidden = !why; }
}

// What is wrong with a source, in the room of two words; its title has the whole sentence.
function trouble({ age, text }) {
  if (age === null) return "nothing yet";
  return age > SILENT_S ? `silent ${age.toFixed(1)} s` : text.split(": ").at(-1);
}

function showLinks(links) {
  const rates = { robot: "Hz", camera: "fps", operator: "Hz" };
  for (const [key, source] of Object.entries(links)) {
    const item = $(`link-${key}`);
    let text = source.text ? trouble(source) : (rates[key] ? (innerWidth > 1180 ? `${source.rate.toFixed(0)} ${rates[key]} · ${ms(source.age)}` : ms(source.age)) : "");
    if (key === "recorder" && !source.text) text = !source.on ? "off" : source.recording ? "● recording" : "ready";
    attribute(item, "data-ok", key === "recorder" && !source.on ? "off" : String(source.ok));
    attribute(item, "title", source.text);
    set(item.querySelector("span"), text);
  }
  views.update(links.camera.cameras);
  const lost = links.camera.cameras[views.large_name] ?? "no camera";
  hide($("camera-lost"), !lost);
  if (lost) set($("camera-lost"), lost[0].toUpperCase() + lost.slice(1));
}

const PLURAL = ["arm", "hand", "end_effector"]; // blocks of which a robot has one on each side

// One row per block of the robot's joints.
function alignmentRows(names) {
  const rows = [...$("alignment").querySelectorAll(".row")];
  if (rows.map((row) => row.dataset.block).join() === names.join()) return rows;
  rows.forEach((row) => row.remove());
  return names.map((block) => {
    const row = $("block-row").content.firstElementChild.cloneNode(true);
    row.dataset.block = block;
    const title = block.replaceAll("_", " ") + (PLURAL.includes(block) ? "s" : "");
    set(row.querySelector("span"), title[0].toUpperCase() + title.slice(1));
    $("alignment").append(row);
    return row;
  });
}

const STAGES = { input: "input", retargeting: "retarget", dds: "DDS", filter: "filter", robot: "robot" };
function showLatency(stages) {
  const text = Object.entries(stages).map(([stage, [p50, p99]]) => `${STAGES[stage]} ${p50.toFixed(0)}/${p99.toFixed(0)}`).join(" · "), label = $("latency").firstElementChild;
  hide(label, !text);
  set(label, text && `${text} ms`);
}

function showAlignment({ blocks, lengths, names, threshold, worst_joint: worst, why }) {
  const stale = why.includes("operator");
  for (const row of alignmentRows(names)) {
    const error = stale ? undefined : blocks[row.dataset.block];
    const known = error !== undefined, shown = known ? (error === null ? 2 * threshold : error) : 0;
    row.classList.toggle("over", known && shown > threshold);
    row.querySelector("em").style.transform = `scaleX(${Math.min(1, shown / (2 * threshold)).toFixed(3)})`; // the mark in the middle is the threshold
    set(row.querySelector("output"), known ? (error === null ? "?" : lengths[row.dataset.block] || error.toFixed(2)) : "–"); // a joint that slides has its own unit
  }
  const drives = ["ADAPTATION", "RECOVERY", "DEMONSTRATION"].includes(shownMode); // then the distance is what the robot lags behind
  $("verdict").className = `verdict ${why ? (drives && !stale ? "" : "bad") : "good"}`;
  set($("verdict"), stale ? "No operator" : drives ? "Operator drives" : why ? "Not aligned" : "Aligned");
  set($("verdict-why"), why ? why.replace(/^(no operator|misaligned): /, "") : `worst joint ${worst || "–"}; limit ${threshold.toFixed(2)} rad`);
}

function showEpisode() {
  const { episode: e, timeline: segments, session: { milestone, milestones } } = link.state;
  set($("episode-name"), e ? e.id : "No episode yet");
  set($("episode-detail"), e ? (e.state === "active" ? `${e.kind} from ${e.start_stage.replaceAll("_", " ")}` : `${e.kind}: ${e.outcome}${e.note ? ` (${e.note})` : ""}`) : "start a rollout or a demonstration");
  const shown = e && (e.state === "active" ? milestone : e.milestone); // now; of an episode that is over, the farthest
  set($("milestone"), shown || "");
  attribute($("milestone"), "title", shown ? `Milestone ${milestones.indexOf(shown)} of ${milestones.length - 1}: ${milestones.join(" → ")}` : "");
  attribute($("timeline"), "data-segments", segments.map(([mode]) => mode).join(" "));
}

function value({ value: { points, threshold }, mode }) {
  if (!points.length) return "No advice: no value from an online critic";
  const limit = mode === "ROLLOUT" ? `; pausing is advised below ${threshold.toFixed(2)}` : "";
  return `Value ${points.at(-1)[1].toFixed(2)}${limit}`;
}

let beeped = -Infinity, said = "";
// advice: a suggestion; notice: what was done without anybody pressing.
function advise(advice, notice) {
  const text = notice || advice, now = performance.now();
  const kind = `advice${text ? " on" : ""}${notice ? " done" : ""}`;
  if ($("advice").className !== kind) $("advice").className = kind;
  set($("advice-text"), text || (link.connected ? value(link.state) : ""));
  const again = advice && now - beeped > BEEP_MS; // the number in the sentence changes all the time, so its text does not tell
  if (sound && ((notice && notice !== said) || again)) { beeped = now; audio.beep(); }
  said = notice;
  if (!text) beeped = -Infinity;
}

// Between two states clocks and strips go on by themselves.
function animate() {
  const live = link.connected, state = link.state;
  if (live !== (document.body.dataset.link === "up")) show();
  if (state) {
    const since = live ? (performance.now() - link.received) / 1000 : 0;
    set($("time-in-mode"), live ? (state.time_in_mode + since).toFixed(1) : "–");
    const running = state.timeline.length && state.timeline.at(-1)[2] === null;
    timeline.draw($("timeline"), state.timeline, (state.episode ? state.episode.elapsed : 0) + (running ? since : 0), state.value);
    const { fps, age } = camera.numbers();
    set($("camera-numbers"), age === null ? "–" : `${fps} fps · ${ms(Math.max(0, age))} old`);
  }
  setTimeout(() => requestAnimationFrame(animate), 90);
}

for (const button of buttons) {
  // The e-stop acts when it is touched, not when it is let go; other buttons can be left again.
  if (button.dataset.do === "estop") button.addEventListener("pointerdown", () => request("estop"));
  button.addEventListener("click", (event) => { if (button.dataset.do !== "estop" || event.detail === 0) request(button.dataset.do); });
}
for (const button of document.querySelectorAll("button[data-switch]")) button.addEventListener("click", () => act(button.dataset.switch));
$("start-stage").addEventListener("change", (event) => { request("start_stage", { stage: event.target.value }); event.target.blur(); });
$("stage-proposal").addEventListener("click", () => act("start_stage"));

for (const frame of document.querySelectorAll(".act")) {
  frame.addEventListener("pointerenter", () => {
    explained = frame;
    if (!frame.dataset.why) return;
    tip.textContent = frame.dataset.why;
    tip.hidden = false;
    const box = frame.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${box.top - tip.offsetHeight - 6}px`;
  });
  frame.addEventListener("pointerleave", () => { explained = null; tip.hidden = true; });
  frame.addEventListener("pointerdown", () => { if (frame.dataset.why) hint(`${name(frame.querySelector("button").dataset.do)}: ${frame.dataset.why}`, "bad"); });
}

let holding = null;
const release = () => { clearTimeout(holding); holding = null; $("estop").classList.remove("holding"); };
addEventListener("keydown", (event) => {
  if (event.code === "Space") {
    event.preventDefault(); // nor may it press the button that has the focus
    if (event.repeat || holding !== null) return;
    $("estop").classList.add("holding");
    holding = setTimeout(() => { request("estop"); $("estop").classList.remove("holding"); }, HOLD_MS);
    return;
  }
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.target instanceof HTMLSelectElement) return;
  const action = KEYS[event.key];
  if (action) { event.preventDefault(); act(action); }
});
addEventListener("keyup", (event) => { if (event.code === "Space") { event.preventDefault(); release(); } });
addEventListener("blur", release);

$("legend").replaceChildren(...[...timeline.MODES, "Value"].map((mode) => {
  const item = document.createElement("span"), sample = document.createElement("i");
  if (mode === "Value") sample.className = "line";
  else sample.style.background = `var(--${mode})`;
  item.append(sample, mode[0] + mode.slice(1).toLowerCase());
  return item;
}));
setInterval(show, 500);
animate();
window.rove = { // read by tests and by bench/panel.py
  camera: () => camera.numbers(), state: () => link.state, received: () => link.received, ask: (action, extra) => link.request(action, extra), drop: () => link.drop(), name: () => link.name,
  audio: () => ({ ready: audio.ready(), beeps: audio.beeps, level: audio.level() }),
};
