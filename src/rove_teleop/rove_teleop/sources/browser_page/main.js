// SPDX-License-Identifier: Apache-2.0
// The drag page: the robot as it is, its hands as they are asked for, and the ways to ask. What moves the robot is decided elsewhere.
import { Camera } from "./camera.js";
import { $, attribute, hide, set } from "./dom.js";
import { Frames } from "./frames.js";
import { paint } from "./pictures.js";
import { Puppet, SIDES } from "./puppet.js";
import { Scene } from "./scene.js";
import { about, multiply } from "./vector.js";

const FRAME_MS = 16; // 60 frames a second; a hidden page is throttled by the browser, and then the robot stops
const DRAW_MS = 33; // 30 pictures a second
const TURN_PER_PX = 0.008; // rad
const OFFSET_PX = 46; // of the small handles from the big one
const CAMERA_LOST_MS = 1000;
const DRIVES = ["ADAPTATION", "RECOVERY", "DEMONSTRATION"];
const HINTS = {
  PAUSED: "Press Take over on the panel. Until then nothing moves; Match the robot undoes what you dragged.",
  ADAPTATION: "You drive. Drag the hands; press Recovered on the panel at clear progress.",
  RECOVERY: "You drive. Complete the task, then Success or Failure on the panel.",
  DEMONSTRATION: "You drive. Show the task, then Success or Failure on the panel.",
};
const KEYS = { // code -> [part, axis, sign]; axes are yaw, roll, pitch
  KeyA: ["waist", 0, 1], KeyD: ["waist", 0, -1], KeyQ: ["waist", 1, -1], KeyE: ["waist", 1, 1], KeyW: ["waist", 2, 1], KeyS: ["waist", 2, -1],
  ArrowLeft: ["head", 0, 1], ArrowRight: ["head", 0, -1], ArrowUp: ["head", 2, -1], ArrowDown: ["head", 2, 1],
};
const BEND = { waist: 0.4, head: 0.8 }, CLOSING = 1.2; // rad/s, per s, while a key is held

const camera = new Camera(), puppet = new Puppet(), canvas = $("scene");
let scene = null, robot = null, chosen = "right", problem = "", seen = -Infinity, size = [1, 1];
const held = new Set(); // codes of keys

const link = new Frames({
  message: (message) => (message.type === "hello" ? greet(message) : message.type === "robot" && show(message)),
  picture: (bitmap) => {
    seen = performance.now();
    scene?.show(bitmap);
    paint($("ego"), bitmap);
  },
  closed: () => { robot = null; words(); },
});

function greet(hello) {
  try {
    scene ??= new Scene(canvas, hello);
  } catch (error) {
    problem = error.message;
  }
  puppet.limits = hello;
  puppet.palms = hello.palms;
  puppet.fovy = hello.fovy;
  puppet.sides = hello.sides;
  camera.about(hello.middle);
  for (const side of SIDES) {
    hide(document.querySelector(`.hand[data-side=${side}]`), !hello.closes.includes(side));
    if (!hello.sides.includes(side)) document.querySelectorAll(`.handle[data-side=${side}]`).forEach((handle) => hide(handle, true));
  }
  if (!hello.sides.includes(chosen)) choose(hello.sides[0] ?? chosen);
}

function show(state) {
  robot = state.bodies ? state : null;
  puppet.robot(state.pose, DRIVES.includes(state.mode));
  document.body.dataset.mode = state.mode;
  set($("mode"), state.mode);
  words(state);
}

function words(state) {
  const another = state && state.following && state.following !== link.name;
  attribute(document.body, "data-link", link.open ? "up" : "down");
  const lost = problem || (!link.open ? link.refused || "No connection to teleop: nothing moves" : !robot ? "No joint states from the robot" : another ? "Another page drives: close one of the two" : "");
  hide($("lost"), !lost);
  set($("lost"), lost);
  set($("alignment"), state?.text ?? "no connection");
  attribute($("alignment"), "data-level", state?.level ?? 3);
  set($("hint"), (state && HINTS[state.mode]) || "The hands are the robot's. Start and pause on the panel.");
  for (const side of SIDES) attribute($(`move-${side}`), "data-level", state && state.errors[side] > state.warn ? 1 : 0);
}

const pick = (side) => puppet.sides.includes(side) && choose(side);

function choose(side) {
  chosen = side;
  for (const element of document.querySelectorAll("[data-side]")) element.classList.toggle("chosen", element.dataset.side === side);
}

// -- asking: pointer ---------------------------------------------------------------------------------------------------------

function drag(side, way, dx, dy) {
  if (!puppet.now) return;
  const palm = puppet.palm(side, puppet.goal);
  if (way === "move") puppet.move(side, camera.plane(dx, dy, palm));
  else if (way === "depth") puppet.move(side, camera.inwards(dy, palm));
  else if (way === "roll") puppet.rotate(side, about(camera.back, -TURN_PER_PX * dx));
  else puppet.rotate(side, multiply(about(camera.up, TURN_PER_PX * dx), about(camera.right, TURN_PER_PX * dy)));
}

// What a drag of a handle does with the modifiers that are held: Shift turns, Alt is the third direction of moving or turning.
function wayOf(event, handle) {
  const third = event.altKey || event.ctrlKey, way = handle === "move" && event.shiftKey ? "turn" : handle;
  return !third ? way : way === "move" ? "depth" : way === "turn" ? "roll" : way;
}

for (const handle of document.querySelectorAll(".handle")) {
  const { side, way } = handle.dataset;
  let last = null;
  handle.addEventListener("pointerdown", (event) => {
    last = [event.clientX, event.clientY];
    handle.setPointerCapture(event.pointerId);
    choose(side);
    event.preventDefault();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!last) return;
    drag(side, wayOf(event, way), event.clientX - last[0], event.clientY - last[1]);
    last = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { last = null; });
  handle.addEventListener("wheel", (event) => { event.preventDefault(); drag(side, "depth", 0, 0.4 * event.deltaY); }, { passive: false });
}

const fingers = new Map(); // pointer -> place, on the scene: one looks around, two come closer
canvas.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, [event.clientX, event.clientY]); canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before || camera.eyes) return;
  const other = [...fingers.entries()].find(([id]) => id !== event.pointerId)?.[1];
  const now = [event.clientX, event.clientY];
  if (other) camera.zoom(Math.hypot(before[0] - other[0], before[1] - other[1]) / (Math.hypot(now[0] - other[0], now[1] - other[1]) || 1));
  else camera.orbit(now[0] - before[0], now[1] - before[1]);
  fingers.set(event.pointerId, now);
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
canvas.addEventListener("wheel", (event) => { event.preventDefault(); camera.zoom(Math.exp(0.001 * event.deltaY)); }, { passive: false });

// -- asking: buttons, keys, gamepad -------------------------------------------------------------------------------------------

let eyes = false;
const look = (through) => { eyes = through; document.body.toggleAttribute("data-eyes", eyes); };
$("inset").addEventListener("click", () => look(!eyes));
for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => { look(false); camera.look(button.dataset.view); });
const match = () => robot && puppet.match(robot.pose);
$("match").addEventListener("click", match);
for (const side of SIDES) $(`close-${side}`).addEventListener("input", (event) => { if (puppet.now) { choose(side); puppet.close(side, Number(event.target.value)); } });

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || (event.target instanceof HTMLInputElement && event.code.startsWith("Arrow"))) return;
  if (event.code === "Space" || event.code in KEYS) event.preventDefault(); // nor press the button that has the focus, nor scroll
  if (event.repeat) return;
  if (event.code === "Digit1") pick("left");
  else if (event.code === "Digit2") pick("right");
  else if (event.code === "KeyM") match();
  else if (event.code === "KeyX") look(!eyes);
  else held.add(event.code);
});
addEventListener("keyup", (event) => held.delete(event.code));
addEventListener("blur", () => held.clear());

function keys(dt) {
  if (!puppet.now) return;
  for (const code of held) {
    if (code in KEYS) puppet.bend(KEYS[code][0], KEYS[code][1], KEYS[code][2] * BEND[KEYS[code][0]] * dt);
    if (code === "KeyC" || code === "KeyV") puppet.close(chosen, puppet.goal.closure[chosen] + (code === "KeyC" ? 1 : -1) * CLOSING * dt);
  }
}

const dead = (value) => (Math.abs(value) < 0.15 ? 0 : value);
let pressed = [];
// Standard mapping: left stick moves, right stick turns; pressed, they go along and about the line of sight.
function gamepad(dt) {
  const pad = [...(navigator.getGamepads?.() ?? [])].find((p) => p && p.mapping === "standard");
  if (!pad || !puppet.now) return;
  const [x, y, u, v] = pad.axes.map(dead), down = pad.buttons.map((button) => button.pressed);
  const px = 600 * dt; // px that a full stick drags in a second
  if (x || y) drag(chosen, down[10] ? "depth" : "move", x * px, y * px);
  if (u || v) drag(chosen, down[11] ? "roll" : "turn", u * px * 0.5, v * px * 0.5);
  const closing = pad.buttons[7].value - pad.buttons[6].value;
  if (Math.abs(closing) > 0.1) puppet.close(chosen, puppet.goal.closure[chosen] + closing * CLOSING * dt);
  for (const [button, part, axis, sign] of [[12, "head", 2, -1], [13, "head", 2, 1], [14, "head", 0, 1], [15, "head", 0, -1]]) {
    if (down[button]) puppet.bend(part, axis, sign * BEND[part] * dt);
  }
  if (down[4] && !pressed[4]) pick("left");
  if (down[5] && !pressed[5]) pick("right");
  if (down[3] && !pressed[3]) match();
  if (down[2] && !pressed[2]) look(!eyes);
  pressed = down;
}

// -- the loops ---------------------------------------------------------------------------------------------------------------

let before = performance.now();
setInterval(() => {
  const now = performance.now(), dt = Math.min(0.1, (now - before) / 1000);
  before = now;
  keys(dt);
  gamepad(dt);
  puppet.step(dt);
  link.frame(puppet);
}, FRAME_MS);

new ResizeObserver(([{ contentRect: { width, height } }]) => { size = [width, height]; }).observe(canvas);

// Drawing must not delay the frames to the robot: it is done at most every DRAW_MS and only when something changed, and a
// computer that draws slowly (without a graphics card) gets fewer pixels.
let quality = 1, drawnAt = 0, drawnAs = "";
function pace(now) {
  const gap = now - drawnAt;
  drawnAt = now;
  if (gap > 4 * DRAW_MS) return; // it stood still
  if (gap > 2 * DRAW_MS) quality = Math.max(0.35, 0.93 * quality);
  else if (gap < 1.3 * DRAW_MS) quality = Math.min(1, 1.01 * quality);
}

function draw(now) {
  requestAnimationFrame(draw);
  if (!scene || !robot || !puppet.now || now - drawnAt < DRAW_MS - 2) return;
  const as = [robot.n, seen, eyes, quality, ...size, camera.azimuth, camera.elevation, camera.distance, JSON.stringify(puppet.now)].join();
  if (as === drawnAs) return;
  drawnAs = as;
  pace(now);
  const ratio = (window.devicePixelRatio || 1) * quality, pixels = size.map((v) => Math.round(v * ratio));
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const live = performance.now() - seen < CAMERA_LOST_MS, ego = $("ego");
  camera.eyes = eyes && live ? { pose: robot.camera, fovy: puppet.fovy, aspect: ego.width / ego.height } : null;
  camera.update(...size);
  const paints = Object.fromEntries(SIDES.map((side) => [side, robot.errors[side] > robot.warn ? "warn" : "good"]));
  scene.draw(camera, ratio, robot.bodies, puppet.now.wrists, paints);
  for (const side of puppet.sides) {
    const at = camera.project(puppet.palm(side));
    for (const [way, dx, dy] of [["move", 0, 0], ["turn", OFFSET_PX, -OFFSET_PX / 2], ["depth", OFFSET_PX, OFFSET_PX / 2]]) {
      const handle = $(`${way}-${side}`), shift = side === "left" ? -dx : dx;
      hide(handle, !at);
      if (at) handle.style.transform = `translate(${at[0] + shift}px, ${at[1] + dy}px)`;
    }
    const slider = $(`close-${side}`);
    if (document.activeElement !== slider || puppet.follows) slider.value = puppet.goal.closure[side];
  }
}

let drawn = 0;
setInterval(() => {
  set($("rates"), `${link.sent - drawn} frames/s · ${Number.isFinite(link.rtt) ? `${(1e3 * link.rtt).toFixed(0)} ms` : "–"}`);
  drawn = link.sent;
  if (!link.open) words();
}, 1000);
choose(chosen);
requestAnimationFrame(draw);

// For the tests and the curious.
window.rove = { link, puppet, camera, state: () => robot };
