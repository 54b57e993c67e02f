// SPDX-License-Identifier: Apache-2.0
// The practice page: shows the newest picture and shows the newest state; everything that is decided is decided by the server.
import { $, set } from "./dom.js";
import { Link } from "./link.js";
import { paint } from "./pictures.js";

const LIMIT_RAD = 0.35; // TAKEOVER_RAD of rove_contract.thresholds; the bars end at twice of it
const NAMES = { head: "Head", chest: "Chest", left_elbow: "Left elbow", right_elbow: "Right elbow", left_wrist: "Left wrist", right_wrist: "Right wrist", left_hand: "Left hand", right_hand: "Right hand" };
const canvas = $("picture");
let state = null, view = [155, -14, 1.7], dragging = null;

const text = (id, value) => set($(id), value);
const with_unit = (value, unit, digits = 0) => (value === null || value === undefined ? "–" : `${value.toFixed(digits)} ${unit}`);

// One row for each block of the robot's joints.
function blockRows(names) {
  const rows = [...document.querySelectorAll("#blocks .row")];
  if (rows.map((row) => row.dataset.block).join() === names.join()) return rows;
  const made = names.map((name) => {
    const row = rows.find((each) => each.dataset.block === name) ?? rows[0].cloneNode(true), words = name.replaceAll("_", " ");
    if (row.dataset.block !== name) row.querySelector("span").textContent = words[0].toUpperCase() + words.slice(1);
    row.dataset.block = name;
    return row;
  });
  rows[0].parentElement.append(...made);
  rows.filter((row) => !made.includes(row)).forEach((row) => row.remove());
  return made;
}

function show(s) {
  state = s;
  document.body.dataset.alive = s.alive;
  text("hz", with_unit(s.input.hz, "Hz")); text("delay", s.alive ? with_unit(s.input.delay_ms, "ms") : "–");
  text("retarget", with_unit(s.input.retarget_ms, "ms", 2)); text("latency", with_unit(s.picture.latency_ms, "ms")); text("fps", `${s.picture.fps} fps`);
  $("lost").hidden = s.alive;
  let worst = 0;
  for (const row of blockRows(s.names)) {
    const error = s.blocks[row.dataset.block];
    row.querySelector("em").style.transform = `scaleX(${Math.min((error ?? 0) / (2 * LIMIT_RAD), 1)})`;
    row.querySelector("output").textContent = s.lengths[row.dataset.block] ?? with_unit(error, "rad", 2);
    row.classList.toggle("over", error > LIMIT_RAD);
    worst = Math.max(worst, error ?? 0);
  }
  const held = s.held.map((part) => NAMES[part].toLowerCase());
  const good = s.alive && worst <= LIMIT_RAD && !held.length;
  $("verdict").className = good ? "verdict good" : "verdict bad";
  text("verdict", !s.alive ? "No operator input" : worst > LIMIT_RAD ? `${s.worst_joint} is ${worst.toFixed(2)} rad off` : held.length ? `Not tracked: ${held.join(", ")}` : "Aligned");
  const body = document.querySelector("#parts tbody");
  for (const [part, values] of Object.entries(s.parts)) {
    const row = body.querySelector(`[data-part=${part}]`) ?? body.appendChild(Object.assign(document.createElement("tr"), { innerHTML: "<td></td>".repeat(4) }));
    row.dataset.part = part; row.dataset.state = values.state;
    [NAMES[part], values.state, with_unit(values.mm, "mm"), with_unit(values.deg, "°", 1)].forEach((value, i) => { row.cells[i].textContent = i > 1 && value === "–" ? "" : value; });
  }
  $("follow").setAttribute("aria-pressed", s.following); $("stay").setAttribute("aria-pressed", !s.following);
  const left = s.calibration.left_s;
  $("calibrate").disabled = left !== null;
  text("calibration", left === null ? s.calibration.text : `swing both arms forward, sideways and up: ${left.toFixed(1)} s`);
  text("source", `${s.input.endpoint}${s.input.source ? `, following “${s.input.source}”` : ""}, ${s.mode}`);
  const refused = Object.entries(s.input.refused).map(([k, n]) => `${k} ${n}`).join(", ");
  text("refused", [refused, s.input.last_error].filter(Boolean).join(": "));
}

const link = new Link({
  picture: (bitmap) => paint(canvas, bitmap),
  message: (message) => { if (message.type === "reply") text("reply", message.text); else if (message.type === "state") show(message); },
  opened: () => { document.body.dataset.link = "up"; },
  closed: () => { document.body.dataset.link = "down"; text("reply", "the preview does not answer; trying again"); },
});

function turn(next) { view = [next[0], Math.min(Math.max(next[1], -89), 30), Math.min(Math.max(next[2], 0.4), 4)]; link.send({ view }); }
for (const name of ["restart", "stay", "follow", "calibrate"]) $(name).onclick = () => link.send({ do: name });
for (const button of document.querySelectorAll("[data-view]")) button.onclick = () => turn(button.dataset.view.split(",").map(Number));
canvas.onpointerdown = (e) => { dragging = [e.clientX, e.clientY, ...view]; canvas.setPointerCapture(e.pointerId); };
canvas.onpointermove = (e) => { if (dragging) turn([dragging[2] - 0.4 * (e.clientX - dragging[0]), dragging[3] - 0.3 * (e.clientY - dragging[1]), view[2]]); };
canvas.onpointerup = canvas.onpointercancel = () => { dragging = null; };
canvas.addEventListener("wheel", (e) => { e.preventDefault(); turn([view[0], view[1], view[2] * Math.exp(0.001 * e.deltaY)]); }, { passive: false });
window.preview = { state: () => state, pictures: () => link.pictures.total };
