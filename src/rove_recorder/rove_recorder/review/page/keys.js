// SPDX-License-Identifier: Apache-2.0
// The keys: what they do, what is printed for them, and which action a key event asks for.
// key as in KeyboardEvent, with Shift+ and Ctrl+ before it -> [action, shown key, words]
const KEYS = {
  " ": ["play", "Space", "play or pause"], ArrowLeft: ["back", "←", "one frame back"], ArrowRight: ["forward", "→", "one frame on"],
  "Shift+ArrowLeft": ["back_s", "⇧←", "one second back"], "Shift+ArrowRight": ["forward_s", "⇧→", "one second on"],
  Home: ["begin", "Home", "first frame"], End: ["end", "End", "last frame"], ",": ["slower", ",", "slower"], ".": ["faster", ".", "faster"],
  ArrowUp: ["previous", "↑", "previous episode"], ArrowDown: ["next", "↓", "next episode"],
  a: ["go_takeover", "A", "go to the takeover"], r: ["go_t_r", "R", "go to t_r"],
  t: ["set_t_r", "T", "t_r is the frame shown"], "Shift+t": ["clear_t_r", "⇧T", "no t_r: adaptation never ended"],
  s: ["success", "S", "outcome: success"], f: ["failure", "F", "outcome: failure"], "Shift+a": ["aborted", "⇧A", "outcome: aborted"],
  "Shift+u": ["unknown", "⇧U", "outcome: unknown"], x: ["exclude", "X", "exclude from training, or include"],
  "[": ["set_start", "[", "the episode begins at the frame shown"], "]": ["set_stop", "]", "the episode ends with the frame shown"],
  k: ["set_split", "K", "a second episode begins at the frame shown"], "Shift+k": ["uncut", "⇧K", "neither trimmed nor split"],
  n: ["rename", "N", "another text of the task"], Delete: ["delete", "Del", "delete the episode, or restore it"],
  z: ["undo", "Z", "undo this episode's last correction"], "Ctrl+z": ["undo", "Ctrl Z", "the same"],
  "/": ["search", "/", "search"], "?": ["help", "?", "this list"],
};
const QUICK = [["Space", "play"], ["← →", "frame"], ["⇧← ⇧→", "second"], [", .", "speed"], ["↑ ↓", "episode"], ["A", "takeover"], ["R", "go to t_r"],
  ["T", "set t_r"], ["S", "success"], ["F", "failure"], ["X", "exclude"], ["[ ]", "trim"], ["K", "split"], ["Z", "undo"], ["1 – 9", "joints"], ["/", "search"]];

// The action of a key event, or undefined.
export function action(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && !"?/".includes(key) ? "Shift+" : "";
  return KEYS[`${event.ctrlKey ? "Ctrl+" : ""}${shift}${key}`]?.[0];
}

const keyed = (pairs, tag) => pairs.map(([key, words]) => {
  const part = document.createElement(tag);
  part.append(Object.assign(document.createElement("kbd"), { textContent: key }), words);
  return part;
});

export function showKeys(quick, all) {
  quick.replaceChildren(...keyed(QUICK, "span"));
  for (const [, key, words] of [...Object.values(KEYS), ["", "1 – 9", "joints of one block, or all"]]) {
    const line = document.createElement("p");
    line.append(Object.assign(document.createElement("kbd"), { textContent: key }), words);
    all.append(line);
  }
}
