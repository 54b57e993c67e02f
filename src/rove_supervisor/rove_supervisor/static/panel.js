// The panel's page: shows what the supervisor says, sends what the person presses. The mode lives in the supervisor, never here.
import { Camera } from "./camera.js";
import * as ghost from "./ghost.js";
import * as timeline from "./timeline.js";

const HOLD_MS = 400; // Space: a stray tap is shorter
const FORCE_MS = 3000; // the second press of "force" must come within
const STATE_LOST_MS = 1000; // 10 missed states
const WORDS = {
  IDLE: "Nobody drives. The robot holds its pose",
  ROLLOUT: "The policy drives the robot",
  PAUSED: "The robot holds still. Operator: align with it",
  ADAPTATION: "The operator drives and finds back. Press Recovered on progress",
  RECOVERY: "The operator drives and completes the task",
  DEMONSTRATION: "The operator demonstrates the task",
  ESTOP: "Emergency stop. The robot holds. Reset when it is safe",
};
const PURPOSE = {
  start_rollout: "the policy drives", start_demonstration: "the operator drives", pause: "the robot holds still", takeover: "the operator drives",
  recovered: "marks t_r", resume: "back to the policy", succeed: "ends the episode", fail: "ends the episode", abort: "kept, not trained on", reset: "after an e-stop",
};
const BEST = { PAUSED: "takeover", ADAPTATION: "recovered", ESTOP: "reset", ROLLOUT: "pause", IDLE: "start_rollout", RECOVERY: "succeed", DEMONSTRATION: "succeed" };
const KEYS = { 1: "start_rollout", 2: "start_demonstration", p: "pause", t: "takeover", r: "recovered", u: "resume", s: "succeed", f: "fail", A: "abort", 0: "reset", T: "force_takeover" };
const NAMES = { start_rollout: "Start rollout", start_demonstration: "Start demonstration", force_takeover: "Force takeover", estop: "E-stop", succeed: "Success", fail: "Failure", takeover: "Take over", start_stage: "Start stage" };

const $ = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("button[data-do]")];
let socket = null, state = null, received = 0, retry = 250, next = 1, offset = 0, bestRtt = Infinity, armedUntil = 0, hintUntil = 0, sound = true, audio = null;

const localNow = () => (performance.timeOrigin + performance.now()) / 1000;
const serverNow = () => localNow() + offset;
const connected = () => state !== null && socket !== null && socket.readyState === WebSocket.OPEN && performance.now() - received < STATE_LOST_MS;
const send = (message) => socket !== null && socket.readyState === WebSocket.OPEN && (socket.send(JSON.stringify(message)), true);
const camera = new Camera($("camera"), (seq) => send({ ack: seq }), serverNow);
const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const name = (action) => NAMES[action] || action[0].toUpperCase() + action.slice(1);

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return camera.receive(data);
    const message = JSON.parse(data);
    if (message.type === "state") { state = message; received = performance.now(); retry = 250; show(); }
    else if (message.type === "reply") reply(message);
    else if (message.type === "pong") pong(message);
  };
  socket.onopen = () => { bestRtt = Infinity; ping(); };
  socket.onclose = () => { socket = null; show(); setTimeout(connect, retry); retry = Math.min(2000, retry * 1.6); };
}

// Clock of the supervisor by the ping with the shortest round trip: the age of a picture compares two machines' clocks.
const pings = new Map();
function ping() {
  const id = next++;
  pings.set(id, localNow());
  send({ do: "ping", id });
}
function pong({ id, t }) {
  const sent = pings.get(id), now = localNow();
  pings.clear();
  if (sent !== undefined && now - sent <= bestRtt) { bestRtt = now - sent; offset = t - (sent + now) / 2; }
  bestRtt *= 1.05; // forget slowly: clocks drift
}

function request(action, extra = {}) {
  const why = reason(action);
  if (why && action !== "estop") return hint(`${name(action)}: ${why}`, "bad");
  if (action === "force_takeover") {
    if (performance.now() > armedUntil) { armedUntil = performance.now() + FORCE_MS; hint("Force takeover: press once more within 3 s. The robot moves to the operator's pose", "bad"); return show(); }
    armedUntil = 0;
  }
  const sent = send({ do: action, id: next++, ...extra });
  if (!sent) hint(action === "estop" ? "NOT SENT: no connection to the supervisor. Use the robot's own emergency stop" : `${name(action)}: no connection to the supervisor`, "bad");
  const button = buttons.find((b) => b.dataset.do === action);
  if (sent && button) { button.classList.add("sent"); setTimeout(() => button.classList.remove("sent"), 150); }
}

function reply({ ok, text, do: action }) {
  hint(ok ? `${name(action)}: ${text}` : action ? `${name(action)} refused: ${text}` : text, ok ? "good" : "bad");
}

function hint(text, kind = "") {
  $("hint").className = `hint ${kind}`;
  set($("hint"), text);
  hintUntil = performance.now() + 6000;
}

// Why a button cannot be pressed now; "" if it can.
function reason(action) {
  if (!connected()) return "no connection to the supervisor";
  if (action === "force_takeover" && !state.actions.force_takeover && !state.actions.takeover) return "not needed: the operator is aligned, press Take over";
  const why = state.actions[action] || "", table = why.match(/^\w+ is (not possible in \w+); possible here: (.*)$/);
  return table ? `${name(action)} is ${table[1]}. Possible: ${table[2].split(", ").map(name).join(", ")}` : why;
}

function show() {
  const live = connected();
  document.body.dataset.link = live ? "up" : "down";
  for (const button of buttons) {
    const action = button.dataset.do, why = action === "estop" ? "" : reason(action);
    if (button.disabled !== Boolean(why)) button.disabled = Boolean(why);
    button.classList.toggle("best", live && BEST[state.mode] === action);
    const small = button.querySelector("small");
    // Forbidden by the mode: the tooltip says it. Possible in this mode but a condition is missing: the button says it.
    if (small) set(small, why && live && !why.includes("not possible in") ? why.replace("misaligned: ", "") : PURPOSE[action]);
    if (action !== "estop") { button.title = ""; explain(button.parentElement, why); button.setAttribute("aria-description", why || PURPOSE[action] || ""); }
  }
  const armed = performance.now() < armedUntil;
  $("force").classList.toggle("armed", armed);
  set($("force").querySelector("b"), armed ? "Press again" : "Force takeover…");
  if (performance.now() > hintUntil) { $("hint").className = "hint"; set($("hint"), ""); }
  if (!live) {
    set($("mode"), "NO CONNECTION");
    set($("mode-words"), state ? `Last known mode: ${state.mode}. Trying again` : "Connecting to the supervisor");
    if (document.body.dataset.mode !== "NONE") document.body.dataset.mode = "NONE";
    advise("");
    $("camera-lost").hidden = false;
    set($("camera-lost"), "No connection");
    return;
  }
  if (document.body.dataset.mode !== state.mode) document.body.dataset.mode = state.mode;
  set($("mode"), state.mode === "ESTOP" ? "E-STOP" : state.mode);
  set($("mode-words"), WORDS[state.mode]);
  document.title = `${state.mode} · ROVE`;
  showSession(state.session, state.links.recorder);
  showLinks(state.links);
  showAlignment(state.alignment);
  advise(state.advice);
  showEpisode();
  ghost.draw($("ghost"), state.ghost || {}, timeline.color("ADAPTATION"));
  const rows = state.warnings.length ? state.warnings : [{ who: "", text: "None", level: -1 }];
  list($("warnings"), rows, (row) => [row.who ? `${row.who}: ${row.text}` : row.text, { level: row.level }, row.level < 0 ? "none" : ""]);
  set($("panel-numbers"), `${state.panel.clients} panel${state.panel.clients === 1 ? "" : "s"} open`);
}

// Reasons on hover and on touch: a disabled button gets no events, so its frame does.
const tip = $("tip");
let explained = null; // the frame under the pointer
function explain(act, why) {
  if (act.dataset.why === why) return;
  act.dataset.why = why;
  if (act === explained && !tip.hidden) { tip.textContent = why; tip.hidden = !why; }
}

function list(element, rows, describe) {
  while (element.children.length > rows.length) element.lastChild.remove();
  rows.forEach((row, i) => {
    const item = element.children[i] || element.appendChild(document.createElement("li"));
    const [text, data, kind] = describe(row);
    set(item, text);
    Object.assign(item.dataset, data);
    if (item.className !== kind) item.className = kind;
  });
}

const ms = (age) => (age === null ? "–" : age < 1 ? `${Math.round(age * 1000)} ms` : `${age.toFixed(1)} s`);
const percent = (x) => (x === null ? "–" : `${Math.round(100 * x)} %`);

function showLinks(links) {
  const rates = { robot: "Hz", camera: "fps", operator: "Hz" };
  for (const [key, link] of Object.entries(links)) {
    const item = $(`link-${key}`);
    let text = link.text || (rates[key] ? (innerWidth > 1180 ? `${link.rate.toFixed(0)} ${rates[key]} · ${ms(link.age)}` : ms(link.age)) : "");
    if (key === "recorder" && !link.text) text = !link.on ? "off" : link.recording ? "● recording" : "ready";
    item.dataset.ok = key === "recorder" && !link.on ? "off" : String(link.ok);
    item.title = link.text;
    set(item.querySelector("span"), text);
  }
  const lost = !links.camera.ok;
  if ($("camera-lost").hidden === lost) $("camera-lost").hidden = !lost;
  if (lost) set($("camera-lost"), links.camera.text[0].toUpperCase() + links.camera.text.slice(1));
}

function showAlignment({ blocks, threshold, worst_joint: worst, why }) {
  const stale = why.includes("operator");
  for (const row of $("alignment").children) {
    const error = stale ? undefined : blocks[row.dataset.block];
    const known = error !== undefined, shown = known ? (error === null ? 2 * threshold : error) : 0;
    row.classList.toggle("over", known && shown > threshold);
    row.querySelector("em").style.transform = `scaleX(${Math.min(1, shown / (2 * threshold)).toFixed(3)})`; // the mark in the middle is the threshold
    set(row.querySelector("output"), known ? (error === null ? "?" : error.toFixed(2)) : "–");
  }
  const drives = ["ADAPTATION", "RECOVERY", "DEMONSTRATION"].includes(state.mode); // then the distance is what the robot lags behind
  $("verdict").className = `verdict ${why ? (drives && !stale ? "" : "bad") : "good"}`;
  set($("verdict"), stale ? "No operator" : drives ? "Operator drives" : why ? "Not aligned" : "Aligned");
  set($("verdict-why"), why ? why.replace(/^(no operator|misaligned): /, "") : `worst: ${worst || "–"}, limit ${threshold.toFixed(2)} rad`);
}

function showSession(s, recorder) {
  set($("instruction"), s.instruction);
  set($("task-detail"), [s.operator && `operator ${s.operator}`, s.checkpoint && `policy ${s.checkpoint.split("/").filter(Boolean).slice(-2).join("/")}`, `from ${s.start_stage}`].filter(Boolean).join(" · "));
  set($("n-rollouts"), String(s.rollouts));
  set($("n-success"), percent(s.success_rate));
  set($("n-autonomous"), percent(s.autonomous_rate));
  set($("n-intervention"), percent(s.intervention_fraction));
  set($("n-demonstrations"), String(s.demonstrations));
  set($("n-disk"), recorder.disk_free_gb ? `${Number(recorder.disk_free_gb).toFixed(0)} GB` : "–");
  set($("n-dropped"), recorder.dropped || "–");
  $("n-dropped").classList.toggle("bad", Number(recorder.dropped) > 0);
  const select = $("start-stage");
  if (select.dataset.stages !== s.start_stages.join()) {
    select.replaceChildren(...s.start_stages.map((stage) => new Option(stage.replaceAll("_", " "), stage)));
    select.dataset.stages = s.start_stages.join();
  }
  if (document.activeElement !== select && select.value !== s.start_stage) select.value = s.start_stage;
  set($("stage-proposal"), s.start_stages.length > 1 && s.proposed_stage !== s.start_stage ? `least collected: ${s.proposed_stage.replaceAll("_", " ")}` : "");
  const recent = $("recent");
  if (recent.dataset.key !== (s.recent[0] || [""])[0]) {
    recent.dataset.key = (s.recent[0] || [""])[0];
    recent.replaceChildren(...s.recent.map(([id, kind, outcome, length, helped]) => {
      const item = document.createElement("li");
      item.dataset.outcome = outcome;
      item.title = id;
      const words = document.createElement("b"), numbers = document.createElement("span");
      words.textContent = `${id.slice(-3)} ${outcome}`;
      numbers.textContent = `${kind === "demonstration" ? "demo" : helped ? `helped ${helped.toFixed(1)} s` : "unaided"} · ${length.toFixed(1)} s`;
      item.append(document.createElement("i"), words, numbers);
      return item;
    }));
  }
}

function showEpisode() {
  const e = state.episode;
  set($("episode-name"), e ? e.id : "No episode yet");
  set($("episode-detail"), e ? (e.state === "active" ? `${e.kind} from ${e.start_stage.replaceAll("_", " ")}` : `${e.kind}: ${e.outcome}${e.note ? ` (${e.note})` : ""}`) : "start a rollout or a demonstration");
  $("timeline").dataset.segments = state.timeline.map(([mode]) => mode).join(" ");
}

let advised = "";
function advise(text) {
  $("advice").classList.toggle("on", Boolean(text));
  set($("advice-text"), text || (connected() && state.value.points.length ? `Value ${state.value.points.at(-1)[1].toFixed(2)}` : "No advice"));
  if (text && !advised && sound) beep();
  advised = text;
}

function beep() {
  audio = audio || new AudioContext();
  for (const [start, pitch] of [[0, 880], [0.18, 660]]) {
    const tone = audio.createOscillator(), volume = audio.createGain();
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.15, audio.currentTime + start);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + start + 0.16);
    tone.connect(volume).connect(audio.destination);
    tone.start(audio.currentTime + start);
    tone.stop(audio.currentTime + start + 0.17);
  }
}

// Between two states clocks and strips go on by themselves.
function animate() {
  const live = connected();
  if (live !== (document.body.dataset.link === "up")) show();
  if (state) {
    const since = live ? (performance.now() - received) / 1000 : 0;
    set($("time-in-mode"), live ? (state.time_in_mode + since).toFixed(1) : "–");
    const running = state.timeline.length && state.timeline.at(-1)[2] === null;
    timeline.draw($("timeline"), state.timeline, (state.episode ? state.episode.elapsed : 0) + (running ? since : 0), state.value);
    const { fps, age } = camera.numbers();
    set($("camera-numbers"), age === null ? "–" : `${fps} fps · ${ms(Math.max(0, age))} old`);
  }
  setTimeout(() => requestAnimationFrame(animate), 60);
}

for (const button of buttons) button.addEventListener("click", () => request(button.dataset.do));
$("start-stage").addEventListener("change", (event) => { request("start_stage", { stage: event.target.value }); event.target.blur(); });
const toggleSound = () => { sound = !sound; $("sound").setAttribute("aria-pressed", String(sound)); $("sound").firstChild.textContent = sound ? "Sound on " : "Sound off "; };
$("sound").addEventListener("click", toggleSound);

for (const act of document.querySelectorAll(".act")) {
  act.addEventListener("pointerenter", () => {
    explained = act;
    if (!act.dataset.why) return;
    tip.textContent = act.dataset.why;
    tip.hidden = false;
    const box = act.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${box.top - tip.offsetHeight - 6}px`;
  });
  act.addEventListener("pointerleave", () => { explained = null; tip.hidden = true; });
  act.addEventListener("pointerdown", () => { if (act.dataset.why) hint(`${name(act.querySelector("button").dataset.do)}: ${act.dataset.why}`, "bad"); });
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
  if (event.key === "m") return toggleSound();
  const action = KEYS[event.key];
  if (action) { event.preventDefault(); request(action); }
});
addEventListener("keyup", (event) => { if (event.code === "Space") { event.preventDefault(); release(); } });
addEventListener("blur", release);

$("legend").replaceChildren(...timeline.MODES.map((mode) => {
  const item = document.createElement("span"), square = document.createElement("i");
  square.style.background = `var(--${mode})`;
  item.append(square, mode[0] + mode.slice(1).toLowerCase());
  return item;
}));
setInterval(ping, 2000);
setInterval(show, 500);
connect();
animate();
window.rove = { camera: () => camera.numbers(), state: () => state, received: () => received, ask: (action) => send({ do: action, id: next++ }) }; // read by tests and by bench/panel.py
