// SPDX-License-Identifier: Apache-2.0
// Small steps of every page. Only what changed is written: the browser then has nothing to lay out again.
export const $ = (id) => document.getElementById(id);
export const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };
export const attribute = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value); };
export const hide = (element, hidden) => { if (element.hidden !== hidden) element.hidden = hidden; };
export const ms = (age) => (age === null ? "–" : age < 1 ? `${Math.round(age * 1000)} ms` : `${age.toFixed(1)} s`);
export const percent = (x) => (x === null ? "–" : `${Math.round(100 * x)} %`);
export const words = (name) => name.replaceAll("_", " ");

export function list(element, rows, describe) {
  while (element.children.length > rows.length) element.lastChild.remove();
  rows.forEach((row, i) => {
    const item = element.children[i] || element.appendChild(document.createElement("li"));
    const [text, data, kind] = describe(row);
    set(item, text);
    for (const [key, value] of Object.entries(data)) if (item.dataset[key] !== String(value)) item.dataset[key] = value;
    if (item.className !== kind) item.className = kind;
  });
}

// Size of a canvas in CSS pixels, kept by an observer: asking the element would lay the page out in every frame.
const sizes = new WeakMap();
const observer = new ResizeObserver((entries) => { for (const { target, contentRect } of entries) sizes.set(target, [contentRect.width, contentRect.height]); });
export function context(canvas) {
  if (!sizes.has(canvas)) { sizes.set(canvas, [canvas.clientWidth, canvas.clientHeight]); observer.observe(canvas); }
  const [width, height] = sizes.get(canvas), ratio = window.devicePixelRatio || 1;
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  return [c, width, height];
}

// Colours by name (palette.css), read once.
const style = getComputedStyle(document.documentElement), colors = {};
export const color = (name) => (colors[name] ??= style.getPropertyValue(`--${name}`).trim());
