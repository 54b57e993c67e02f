// SPDX-License-Identifier: Apache-2.0
// Asks the review server; `lost` is told when it cannot be reached, and when it can again.
export async function request(path, body, lost) {
  let answer;
  try {
    answer = await fetch(path, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    lost(true);
    throw new Error("no connection to the review server");
  }
  lost(false);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}
