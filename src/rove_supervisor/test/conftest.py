# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the panel's tests: a fake robot, operator, policy and recorder over real ROS, a supervisor process,
headless Chromium.
"""

import subprocess

import pytest

from rove_contract import domain
from rove_supervisor.testing.fake_world import CHROMIUM, Process, World

LEASE_S = 2.0  # longer than the default, so that a browser on a starved machine keeps it
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def world():
    domain.isolate()
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="module")
def supervisor(world):
    process = Process(
        record=True,
        operator="mocap suit",
        checkpoint="runs/demo/policy",
        instruction="erase the whiteboard",
        start_stages="[start,grasped,half_erased]",
        dead_man_lease_s=LEASE_S,
    )
    yield process
    process.stop()


@pytest.fixture(scope="module")
def protected_domain():
    """ROS domain of `protected`: that of the world. A module with another supervisor gives one of its own."""
    return ""


@pytest.fixture(scope="module")
def protected(world, protected_domain, tmp_path_factory):
    """A supervisor for others, on every address, with token and TLS: (process, address, certificate, token)."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=robot",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    process = Process(protected_domain, panel_host="0.0.0.0", panel_token=TOKEN, panel_cert=cert, panel_key=key)
    yield process, f"https://127.0.0.1:{process.port}/", cert, TOKEN
    process.stop()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
    # The name stands for any foreign one that an attacker lets resolve to this machine.
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def opened(browser, url, size=(1280, 800), **options):
    # bypass_csp: Playwright evaluates its waiting conditions as strings, which the page's own policy forbids.
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, bypass_csp=True, **options)
    page.errors, origin = [], url.partition("?")[0]
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on(
        "request",
        lambda request: request.url.startswith(origin) or page.errors.append(f"loaded from elsewhere: {request.url}"),
    )
    page.on(
        "websocket",
        lambda ws: ws.url.startswith(origin.replace("http", "ws", 1)) or page.errors.append(f"connected to {ws.url}"),
    )
    page.goto(url)
    page.wait_for_function("window.rove?.state()")
    return page


@pytest.fixture
def open_page(browser):
    """(url, size=…, …) -> another page that has its first state; it is closed after the test."""
    pages = []

    def make(*arguments, **options):
        pages.append(opened(browser, *arguments, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.close()
        assert page.errors == []


@pytest.fixture(scope="module")
def one_page(supervisor, browser):
    page = opened(browser, supervisor.url)
    yield page
    page.close()


@pytest.fixture
def page(world, one_page):
    """The module's page in IDLE with everything fine."""
    page = one_page
    world.robot = world.camera = world.operator = world.recorder_ready = world.policy_ready = True
    world.errors, world.value, world.diagnosis = (
        {"head": 0.04, "waist": 0.09, "arm": 0.12, "hand": 0.21},
        None,
        (0, "ready"),
    )
    world.reported = {}
    world.dropped, world.worst, world.milestone = 0, "right_index_proximal", ""
    world.until("estop")
    world.until("reset")
    page.evaluate("""() => {
        if (rove.state().auto_pause) rove.ask('auto_pause', { on: false });
        if (rove.state().dead_man.on) rove.ask('dead_man', { on: false });
    }""")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.mouse.move(5, 5)
    page.wait_for_function(
        "rove.state().mode === 'IDLE' && !document.querySelector('[data-do=start_rollout]').disabled", timeout=15000
    )
    yield page
    assert page.errors == []
