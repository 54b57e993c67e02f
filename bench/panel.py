# SPDX-License-Identifier: Apache-2.0
"""The panel under load: click -> mode change, camera rate and age in the browser, CPU with 1 and 5 pages.

Real headless Chromium, a real supervisor process, a fake robot (100 Hz states, 30 fps camera) over real ROS on one
machine.
- click: from the click in the page to the page showing the new mode (ms by the page's clock), pause and resume
  alternately;
- service: from the request to the first /supervisor/mode message that carries the new mode, at a third process (ms);
- camera: pictures drawn per s, and age of a picture when it is drawn (stamp at the robot to the canvas);
- CPU: of the panel's own thread and of the whole supervisor process with its ROS part, in percent of one core. The
  thread's share is
  what pages cost; 0 pages is the named alternative.

    .venv/bin/python bench/panel.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.request

import numpy as np
import psutil

from rove_contract import domain
from rove_supervisor.testing.fake_world import CHROMIUM, Process, World

# Clicks the page's own button and resolves when the page shows the mode; both times by the page's clock.
CLICK = """([action, mode]) => new Promise((done, fail) => {
  const begin = performance.now();
  const watch = new MutationObserver(() => {
    if (document.body.dataset.mode === mode) { watch.disconnect(); done(performance.now() - begin); }
  });
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-mode"] });
  document.querySelector(`[data-do=${action}]`).click();
  const hint = document.querySelector("#hint");
  setTimeout(() => { watch.disconnect(); fail(new Error(`${action}: still ${document.body.dataset.mode};
    ${hint.textContent}`)); }, 5000);
})"""


def quantiles(values) -> dict:
    return {"p50": round(float(np.percentile(values, 50)), 1), "p99": round(float(np.percentile(values, 99)), 1)}


def clicks(page, count: int) -> list[float]:
    """ms per click."""
    times = []
    for i in range(count):
        action, mode = (("pause", "PAUSED"), ("resume", "ROLLOUT"))[i % 2]
        page.wait_for_function(f"!document.querySelector('[data-do={action}]').disabled")
        times.append(page.evaluate(CLICK, [action, mode]))
        page.wait_for_timeout(210)  # a person presses less than 5 buttons a second; more is refused
    return times


def services(world: World, count: int) -> list[float]:
    """ms per request over ROS until the mode is seen by another process."""
    times = []
    for i in range(count):
        action, mode = (("pause", "PAUSED"), ("resume", "ROLLOUT"))[i % 2]
        begin = time.perf_counter()
        ok, text = world.call(action)
        if not ok:
            raise RuntimeError(text)
        world.wait_mode(mode)
        times.append(1e3 * (time.perf_counter() - begin))
    return times


class Cpu:
    """CPU of the supervisor since it was made, in percent of one core."""

    def __init__(self, supervisor: Process):
        self.url, self.process = supervisor.url + "healthz", psutil.Process(supervisor.process.pid)
        self.begin = self.now()

    def now(self) -> tuple[float, float, float]:
        """s: wall clock, process, panel's thread."""
        with urllib.request.urlopen(self.url) as answer:
            thread = json.load(answer)["cpu_s"]
        return time.perf_counter(), sum(self.process.cpu_times()[:2]), thread

    def percent(self) -> dict:
        wall, process, thread = (b - a for a, b in zip(self.begin, self.now()))
        return {"cpu_percent": round(100 * process / wall, 1), "panel_cpu_percent": round(100 * thread / wall, 2)}


def camera_and_cpu(pages, supervisor: Process, seconds: float) -> dict:
    """Rates over `seconds` s with these pages open; none: CPU alone."""
    before = [page.evaluate("rove.camera().total") for page in pages]
    begin, cpu = time.perf_counter(), Cpu(supervisor)
    if not pages:
        time.sleep(seconds)
        return cpu.percent()
    pages[0].wait_for_timeout(1e3 * seconds)
    result, wall = cpu.percent(), time.perf_counter() - begin
    rates = [(page.evaluate("rove.camera().total") - b) / wall for page, b in zip(pages, before)]
    ages = [1e3 * age for page in pages for age in page.evaluate(f"rove.camera().ages.slice({-int(25 * seconds)})")]
    return {"fps_min": round(min(rates), 1), "age_ms": quantiles(ages), **result}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most 30 s")
    quick = parser.parse_args().quick
    if CHROMIUM is None:
        print("no Chromium found; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    count, seconds = (20, 3.0) if quick else (200, 15.0)
    domain.isolate()
    world = World()
    supervisor = Process(record=True, operator="benchmark")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            pages = []

            def open_pages(n):
                while len(pages) < n:
                    page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
                    page.goto(supervisor.url)
                    page.wait_for_function("window.rove?.camera().total > 5")
                    pages.append(page)

            world.until("start_rollout")
            request = services(world, count)
            none = camera_and_cpu(pages, supervisor, seconds)
            open_pages(1)
            click = clicks(pages[0], count)
            one = camera_and_cpu(pages, supervisor, seconds)
            open_pages(5)
            five = camera_and_cpu(pages, supervisor, seconds)
            browser.close()
    finally:
        supervisor.stop()
        world.close()
    result = {
        "bench": "panel",
        "quick": quick,
        "clicks": count,
        "click_ms": quantiles(click),
        "service_ms": quantiles(request),
        "clients_0": none,
        "clients_1": one,
        "clients_5": five,
        "cpus": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }
    for name, key in (("click → mode in the page", "click_ms"), ("service → mode elsewhere", "service_ms")):
        print(f"{name}   p50 {result[key]['p50']:6.1f} ms   p99 {result[key]['p99']:6.1f} ms   ({count} times)")
    for name, row in (("1 page", one), ("5 pages", five)):
        print(
            f"{name:8} camera ≥ {row['fps_min']:4.1f} fps, age p50 {row['age_ms']['p50']:5.1f} ms p99 "
            f"{row['age_ms']['p99']:6.1f} ms"
        )
    for name, row in (("no page", none), ("1 page", one), ("5 pages", five)):
        print(
            f"{name:8} CPU of the panel's thread {row['panel_cpu_percent']:5.2f} %, of the process "
            f"{row['cpu_percent']:5.1f} % of a core"
        )
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
