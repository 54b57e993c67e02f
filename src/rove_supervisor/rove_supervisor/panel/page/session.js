// SPDX-License-Identifier: Apache-2.0
// The session's numbers, the next start stage and the last episodes.
import { $, set, percent, words } from "./dom.js";

export function show(s, recorder, active) {
  set($("instruction"), s.instruction);
  set($("task-detail"), [s.evaluation, s.operator && `operator ${s.operator}`, s.checkpoint && `policy ${s.checkpoint.split("/").filter(Boolean).slice(-2).join("/")}`, `from ${words(s.start_stage)}`].filter(Boolean).join(" · "));
  set($("n-rollouts"), String(s.rollouts));
  set($("n-success"), percent(s.success_rate));
  set($("n-autonomous"), percent(s.autonomous_rate));
  set($("n-intervention"), percent(s.intervention_fraction));
  set($("n-demonstrations"), String(s.demonstrations));
  set($("n-disk"), recorder.disk_free_gb ? `${Number(recorder.disk_free_gb).toFixed(0)} GB` : "–");
  set($("n-dropped"), recorder.dropped || "–");
  $("n-dropped").classList.toggle("bad", Number(recorder.dropped) > 0);
  stages(s, active);
  episodes(s.recent);
}

function stages(s, active) {
  const select = $("start-stage"), key = s.start_stages.map((stage, i) => `${stage} ${s.collected[i]}`).join();
  if (select.dataset.key !== key && document.activeElement !== select) { // an open list must not change under the finger
    select.replaceChildren(...s.start_stages.map((stage, i) => new Option(`${words(stage)} (${s.collected[i]})`, stage)));
    select.dataset.key = key;
  }
  if (document.activeElement !== select && select.value !== s.start_stage) select.value = s.start_stage;
  if (select.disabled !== active) select.disabled = active;
  const button = $("stage-proposal"), proposed = s.start_stages.length > 1 && s.proposed_stage !== s.start_stage;
  button.style.visibility = proposed ? "visible" : "hidden";
  button.dataset.stage = s.proposed_stage;
  if (button.disabled !== active) button.disabled = active;
  set(button.firstElementChild, words(s.proposed_stage));
}

function episodes(rows) {
  const recent = $("recent"), key = (rows[0] || ["none"])[0];
  if (recent.dataset.key === key) return;
  recent.dataset.key = key;
  if (!rows.length) {
    const none = document.createElement("li");
    none.className = "none";
    none.textContent = "None yet";
    return recent.replaceChildren(none);
  }
  recent.replaceChildren(...rows.map(([id, kind, outcome, length, helped]) => {
    const item = document.createElement("li"), title = document.createElement("b"), numbers = document.createElement("span");
    item.dataset.outcome = outcome;
    item.title = id;
    title.textContent = `${id.slice(-3)} ${outcome}`;
    numbers.textContent = `${kind === "demonstration" ? "demo" : helped ? `helped ${helped.toFixed(1)} s` : "unaided"} · ${length.toFixed(1)} s`;
    item.append(document.createElement("i"), title, numbers);
    return item;
  }));
}
