// SPDX-License-Identifier: Apache-2.0
// Two tones that ask to look. Browsers play nothing before the page was touched once, so the first touch or key unlocks it.
let context = null, meter = null;
export let beeps = 0;

function unlock() {
  context = context || new AudioContext();
  if (context.state === "suspended") context.resume();
}
for (const event of ["pointerdown", "keydown"]) addEventListener(event, unlock, { capture: true });

// True when a tone would be heard.
export const ready = () => context !== null && context.state === "running";

export function beep() {
  if (!ready()) return;
  if (!meter) {
    meter = context.createAnalyser();
    meter.connect(context.destination);
  }
  beeps += 1;
  for (const [start, pitch] of [[0, 880], [0.22, 660]]) {
    const tone = context.createOscillator(), volume = context.createGain();
    tone.type = "triangle"; // carries further than a sine from small speakers
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.35, context.currentTime + start);
    volume.gain.exponentialRampToValueAtTime(0.001, context.currentTime + start + 0.2);
    tone.connect(volume).connect(meter);
    tone.start(context.currentTime + start);
    tone.stop(context.currentTime + start + 0.21);
  }
}

// Loudest sample of the last 46 ms, 0 to 1.
export function level() {
  if (!meter) return 0;
  const samples = new Float32Array(meter.fftSize);
  meter.getFloatTimeDomainData(samples);
  return Math.max(...samples.map(Math.abs));
}
