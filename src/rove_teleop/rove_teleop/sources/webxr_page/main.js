// SPDX-License-Identifier: Apache-2.0
// The page: sends the headset's head and hands, shows the robot's camera and hands. One XR session at a time.
import { $, color } from "./dom.js";
import { Frames } from "./frames.js";
import { Scene, colour, distance, ghost, neck, turn } from "./scene.js";

const JOINTS = ["wrist"].concat(
  ["metacarpal", "phalanx-proximal", "phalanx-distal", "tip"].map((part) => `thumb-${part}`),
  ...["index", "middle", "ring", "pinky"].map((finger) =>
    ["metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip"].map((part) => `${finger}-finger-${part}`)),
);
const KEPT = JOINTS.map((_, i) => i).filter((i) => ![5, 10, 15, 20].includes(i)); // 21 keypoints
const CAMERA_LOST_MS = 1000;
const SESSIONS = { ar: "immersive-ar", vr: "immersive-vr" };

const gl = $("stage").getContext("webgl2", { xrCompatible: true, alpha: true, antialias: true });
let scene = null, session = null, space = null, mode = "", recentred = true;
let robot = null, bitmap = null, bitmapAt = -Infinity, fresh = false, tracked = { head: false, left: false, right: false }, error = "";
const near = { left: NaN, right: NaN }; // m, wrist to the robot's wrist

const link = new Frames({
  robot: (state) => { robot = state; },
  state: () => { if (!link.up) robot = null; page(); },
  picture: (image) => {
    bitmap?.close();
    [bitmap, bitmapAt, fresh] = [image, performance.now(), true];
    if (!session) paint();
  },
});

function paint() {
  const canvas = $("camera");
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

// -- the session ---------------------------------------------------------------------------------------------------------------

async function enter(kind) {
  error = "";
  try {
    if (!gl) throw new Error("this browser has no WebGL 2");
    const asked = await navigator.xr.requestSession(SESSIONS[kind], { requiredFeatures: ["local"], optionalFeatures: ["hand-tracking"] });
    try {
      await gl.makeXRCompatible?.();
      scene ??= new Scene(gl);
      asked.updateRenderState({ baseLayer: new XRWebGLLayer(asked, gl) });
      space = await asked.requestReferenceSpace("local");
    } catch (problem) {
      await asked.end();
      throw problem;
    }
    [session, mode, recentred] = [asked, kind, true];
    space.addEventListener("reset", () => { recentred = true; });
    session.addEventListener("end", () => { session = null; tracked = { head: false, left: false, right: false }; page(); });
    session.requestAnimationFrame(frame);
  } catch (problem) {
    error = problem.name === "NotSupportedError"
      ? "The headset refused: this page must be allowed to use it."
      : `The headset refused: ${problem.message}`;
  }
  page();
}

function joints(xrFrame, source) {
  const poses = [];
  for (const name of JOINTS) {
    const joint = source.hand.get(name), pose = joint && xrFrame.getJointPose(joint, space);
    if (!pose) return null; // a hand counts whole or not at all
    poses.push(pose);
  }
  return poses;
}

function frame(time, xrFrame) {
  session?.requestAnimationFrame(frame);
  if (!session) return;
  const viewer = xrFrame.getViewerPose(space);
  // In the background, with the system's menu open, or without a tracked position there is no operator: send nothing, draw on.
  const head = viewer && !viewer.emulatedPosition && session.visibilityState === "visible" ? viewer : null;
  const hands = { left: null, right: null }, grips = { left: null, right: null };
  for (const source of head ? session.inputSources : []) {
    if (!(source.handedness in hands)) continue;
    if (source.hand) hands[source.handedness] = joints(xrFrame, source);
    else if (source.gripSpace) grips[source.handedness] = held(xrFrame, source);
  }
  if (head && link.frame(head, hands, grips, recentred)) recentred = false;
  tracked = { head: !!head, left: !!(hands.left || grips.left), right: !!(hands.right || grips.right) };
  if (viewer) render(viewer, hands, grips);
}

// A controller: where it is held, and how far trigger or grip close the hand.
function held(xrFrame, source) {
  const pose = xrFrame.getPose(source.gripSpace, space), buttons = source.gamepad?.buttons ?? [];
  if (!pose || pose.emulatedPosition) return null;
  return { pose, closure: Math.max(buttons[0]?.value ?? 0, buttons[1]?.value ?? 0) };
}

// 21 points of the hand that holds a controller: between the open and the closed one of the greeting.
function holding(side, { pose, closure }) {
  const { position: p, orientation: q } = pose.transform, [open, closed] = link.hello?.grasp?.[side] ?? [[], []], points = [];
  for (let i = 0; i < open.length; i += 3) {
    const [x, y, z] = [0, 1, 2].map((k) => open[i + k] + closure * (closed[i + k] - open[i + k]));
    const [a, b, c] = turn([q.x, q.y, q.z, q.w], [-y, z, -x]); // the wrist's axes in those of the grip
    points.push([p.x + a, p.y + b, p.z + c]);
  }
  return points.length ? points : null;
}

function render(viewer, hands, grips) {
  const layer = session.renderState.baseLayer;
  gl.bindFramebuffer(gl.FRAMEBUFFER, layer.framebuffer);
  gl.clearColor(...(mode === "ar" ? [0, 0, 0, 0] : [0.05, 0.07, 0.09, 1]));
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  if (!link.hello) robot = null;
  if (fresh) [scene.show(bitmap), (fresh = false)];
  if (performance.now() - bitmapAt > CAMERA_LOST_MS) scene.pictureSize = null; // a frozen picture is worse than none
  const { position: p, orientation: q } = viewer.transform;
  const eyes = { position: [p.x, p.y, p.z], orientation: [q.x, q.y, q.z, q.w] };
  const pivot = neck(eyes.position, eyes.orientation, link.hello?.eyes ?? [0.1, 0, 0.15]);
  const own = {};
  for (const side of ["left", "right"]) {
    own[side] = hands[side] && KEPT.map((i) => { const { x, y, z } = hands[side][i].transform.position; return [x, y, z]; });
    if (grips[side]) own[side] = holding(side, grips[side]);
    near[side] = own[side] && robot?.hands?.[side] ? distance(own[side][0], ghost(robot, side, pivot)[0]) : NaN;
  }
  scene.compose(eyes, robot, own, pivot, link.hello?.fovy ?? 1.2);
  scene.write(...words());
  for (const view of viewer.views) {
    const { x, y, width, height } = layer.getViewport(view);
    if (!width) continue;
    gl.viewport(x, y, width, height);
    scene.draw(view.projectionMatrix, view.transform.inverse.matrix);
  }
}

// -- words ---------------------------------------------------------------------------------------------------------------------

const css = (rgb) => `rgb(${rgb.map((v) => Math.round(255 * v)).join(" ")})`;

function handText(side) {
  if (session && !tracked[side]) return "not tracked";
  if (!robot || robot.errors[side] === undefined) return "–";
  const metres = Number.isFinite(near[side]) ? `, ${(100 * near[side]).toFixed(0)} cm` : "";
  return `${robot.errors[side].toFixed(2)} rad${metres}`;
}

function words() {
  if (!link.up) return ["NO CONNECTION\nyour hands move nothing", color("ESTOP")];
  if (!robot?.hands) return ["NO ROBOT\nno joint states arrive", color("ESTOP")];
  if (robot.following && robot.following !== link.name) return [`${robot.mode}\nanother operator is connected`, color("warn")];
  const worst = Math.max(robot.errors.left ?? NaN, robot.errors.right ?? NaN);
  return [`${robot.mode} · ${robot.text}\nleft ${handText("left")}   ·   right ${handText("right")}`, css(colour(worst, robot.warn))];
}

function page() {
  const up = link.up;
  $("link").textContent = up ? "connected" : "no connection";
  $("link").dataset.ok = up;
  $("mode").textContent = robot?.mode || "no robot";
  $("alignment").textContent = robot?.text ?? "";
  $("alignment").dataset.level = robot?.level ?? 3;
  for (const side of ["left", "right"]) {
    $(side).textContent = handText(side);
    $(side).style.color = robot ? css(colour(robot.errors[side], robot.warn)) : "";
  }
  $("frames").textContent = session ? `${link.sent} (${link.skipped} skipped)` : "not in a session";
  $("clock").textContent = Number.isFinite(link.rtt) ? `${(1e3 * link.rtt).toFixed(1)} ms round trip` : "–";
  $("no-camera").hidden = performance.now() - bitmapAt < CAMERA_LOST_MS;
  $("hint").textContent = error || (session ? "In the headset." : support);
  $("leave").hidden = !session;
}

let support = "Looking for a headset …", counted = 0;

async function look() {
  if (!window.isSecureContext) support = "This address is not secure, so the browser hides the headset: open the https address.";
  else if (!navigator.xr) support = "This browser has no WebXR: open this address in the headset's own browser.";
  else {
    const found = [];
    for (const [kind, session_] of Object.entries(SESSIONS)) {
      const able = await navigator.xr.isSessionSupported(session_).catch(() => false);
      $(kind).disabled = !able;
      if (able) found.push(kind);
    }
    support = found.length ? "Ready." : "No headset is connected to this browser.";
  }
  page();
}

for (const kind of Object.keys(SESSIONS)) $(kind).onclick = () => enter(kind);
$("leave").onclick = () => session?.end();
navigator.xr?.addEventListener?.("devicechange", look);
setInterval(page, 200);
setInterval(() => {
  $("rate").textContent = `${link.pictures.total - counted} frames/s`;
  counted = link.pictures.total;
}, 1000);
look();

// For the tests and the curious.
window.rove = { link, state: () => ({ robot, tracked, near, session: !!session, mode, sent: link.sent, error }) };
