# SPDX-License-Identifier: Apache-2.0
"""The supervisor process over real ROS: services, order of publications, heartbeat, deadline, clean end."""

import json
import signal
import socket
import time

import aiohttp
import pytest

from rove_contract import domain, timing
from rove_contract.modes import Outcome
from rove_supervisor.testing.fake_world import Process, World, talk

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def world():
    domain.isolate()
    world = World()
    yield world
    world.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_supervisor_ends_the_episode_and_leaves_cleanly(world, signum):
    process = Process()
    world.until("start_rollout")
    world.wait_mode("ROLLOUT")
    assert process.stop(signum) == 0, "".join(process.lines)
    world.wait(lambda: world.episodes[-1].state == "ended", what="the end of the episode")
    assert world.episodes[-1].outcome is Outcome.ABORTED and world.episodes[-1].note == "the supervisor was stopped"
    world.wait_mode("IDLE")
    assert not any("Traceback" in line for line in process.lines)


def test_a_port_in_use_is_said_in_words(world):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(RuntimeError, match="cannot listen on 127.0.0.1"),
    ):
        Process(panel_port=taken.getsockname()[1])


def test_others_are_not_let_in_without_token_and_tls(world):
    with pytest.raises(RuntimeError, match="needs panel_token and TLS"):
        Process(panel_host="0.0.0.0")


@pytest.mark.parametrize("dead_man, auto_pause", [(False, False), (True, False), (False, True)])
def test_the_switches_stand_as_the_parameters_say(world, dead_man, auto_pause):
    process = Process(dead_man=str(dead_man).lower(), auto_pause=str(auto_pause).lower())

    async def state():
        async with aiohttp.ClientSession() as session, session.ws_connect(process.url + "ws?camera=0") as ws:
            while (message := json.loads(await ws.receive_str()))["type"] != "state":
                pass
            return message

    try:
        shown = talk(state())
    finally:
        process.stop()
    assert (shown["dead_man"]["on"], shown["auto_pause"]) == (dead_man, auto_pause)


@pytest.fixture(scope="module")
def supervisor(world):
    process = Process(operator="tester", record=True)
    yield process
    process.stop()


def test_a_whole_episode_by_services_in_the_right_order(world, supervisor):
    world.order.clear()
    world.until("start_rollout")
    for action, mode in (
        ("pause", "PAUSED"),
        ("takeover", "ADAPTATION"),
        ("recovered", "RECOVERY"),
        ("succeed", "IDLE"),
    ):
        assert f" → {mode}" in world.until(action)
        world.wait_mode(mode)
    world.wait(lambda: world.episodes and world.episodes[-1].state == "ended", what="the end of the episode")
    episode = world.episodes[-1]
    stamps = dict(world.modes)
    assert episode.outcome is Outcome.SUCCESS and episode.operator == "tester"
    assert (
        episode.t_r_ns == stamps["RECOVERY"]
        and episode.started_ns == stamps["ROLLOUT"]
        and episode.ended_ns == stamps["IDLE"]
    )
    # Modes and episodes are two topics, so only what the supervisor itself orders by stamps is claimed across them.
    assert [e for e in world.order if e.startswith("episode")][-1] == "episode ended"


def test_the_mode_is_repeated_well_within_its_deadline(world, supervisor):
    world.heartbeats.clear()
    world.wait(lambda: len(world.heartbeats) >= 41, what="41 heartbeats")
    beats = world.heartbeats[:41]
    mean = (beats[-1] - beats[0]) / 40
    assert 0.9 * timing.SUPERVISOR_HEARTBEAT_S < mean < 0.5 * timing.SUPERVISOR_SILENT_S


def refused(world, action, undo, containing):
    """The reason of a refusal; an attempt that came before the supervisor noticed the change is undone."""
    deadline = time.monotonic() + 15.0
    while time.monotonic() < deadline:
        ok, text = world.call(action)
        if not ok and containing in text:
            return text
        if ok:
            world.until(undo)
    raise AssertionError(f"{action} was never refused with {containing!r}; last: {text}")


def test_refusals_name_the_reason(world, supervisor):
    world.until("start_rollout")
    assert "possible here" in world.until("recovered", accepted=False)
    world.until("pause")
    world.errors["arm"], world.worst = 0.8, "left_elbow"
    try:
        assert "left_elbow (arm) is 0.80 rad off" in refused(world, "takeover", "pause", "misaligned")
        world.operator = False
        assert "no alignment for" in world.until("takeover", accepted=False, containing="stale")
        assert "ADAPTATION" in world.until("force_takeover")
    finally:
        world.operator, world.errors["arm"] = True, 0.1
    world.until("fail")
    world.recorder_ready = False
    try:
        assert "the disk is full" in refused(world, "start_rollout", "abort", "recorder")
    finally:
        world.recorder_ready = True
    world.robot = False
    try:
        assert "/joint_states" in refused(world, "start_demonstration", "abort", "/joint_states")
    finally:
        world.robot = True
    world.until("estop")
    assert "possible here: estop, reset" in world.until("start_rollout", accepted=False)
    world.until("reset")
