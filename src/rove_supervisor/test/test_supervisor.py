# SPDX-License-Identifier: Apache-2.0
"""The supervisor without ROS on a made-up clock: dead-man lease, auto-pause, start stage."""

import pytest

from rove_contract.episode import Episode
from rove_contract.modes import Mode
from rove_supervisor.machine import EpisodeSettings, Transition
from rove_supervisor.panel.snapshot import snapshot
from rove_supervisor.supervisor import SessionSettings, StartStage, Supervisor
from rove_supervisor.watch import Alignment, Watch


class Bench:
    """A supervisor for which everything is fine; `run` lets time pass with heartbeats at 20 Hz."""

    def __init__(self, **session):
        self.now, self.published = 100.0, []
        session = SessionSettings(start_stages=("start", "grasped"), **session)
        watch, publish = Watch(0.35, False, ("head", "waist", "arm", "hand")), self.published.append
        self.supervisor = Supervisor(
            session,
            watch,
            publish,
            clock=lambda: self.now,
            epoch=lambda: int(self.now * 1e9),
            identity="/supervisor@here:1",
        )
        self.supervisor.watch.policies = 1
        self.run(0.05)

    def run(self, seconds, alive="", value=None, camera=True):
        done = []
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            self.supervisor.saw_robot()
            if camera:
                self.supervisor.saw_camera()
            blocks = {block: "0.1" for block in ("head", "waist", "arm", "hand")}
            self.supervisor.watch.alignment = Alignment.read(0, "", blocks, self.now)
            if alive:
                self.supervisor.alive(alive)
            if value is not None:
                self.supervisor.saw_value(value)
            done.append(self.supervisor.heartbeat())
        return [text for text in done if text]

    def press(self, *actions, client="panel 1"):
        for action in actions:
            ok, text = self.supervisor.request(action, client, client=client)
            assert ok, text

    @property
    def mode(self):
        return self.supervisor.mode


def report(bench, mode, **values):
    """The command filter says on /diagnostics which mode it is in; values: what differs from the present ones."""
    stamp = bench.supervisor.machine.last.stamp_ns
    said = {
        "mode": mode,
        "supervisor": bench.supervisor.identity,
        "mode_ns": str(stamp),
        "reason": "left over",
    } | values
    bench.supervisor.saw_report("command_filter", 1, "holding in ESTOP", said)


def test_a_restarted_supervisor_begins_in_estop_when_the_command_filter_is_in_it():
    bench = Bench()
    report(bench, "ESTOP")
    assert bench.mode is Mode.ESTOP
    bench.press("reset")
    report(bench, "IDLE")
    assert bench.mode is Mode.IDLE


@pytest.mark.parametrize("values", [{"mode_ns": "7"}, {"supervisor": "/supervisor@before:1"}])
def test_a_report_from_before_the_filter_heard_the_present_mode_says_nothing_about_it(values):
    bench = Bench()
    report(bench, "ESTOP", **values)
    assert bench.mode is Mode.IDLE


def test_a_flood_of_emergency_stops_is_one_transition():
    bench = Bench()
    bench.press("estop")
    count, changes = len(bench.published), []
    bench.supervisor.on_change = lambda: changes.append(1)
    for _ in range(1000):
        assert bench.supervisor.request("estop", "panel 2", client="panel 2")[0]
    assert len(bench.published) == count and changes == []


def test_what_nodes_say_cannot_steer_a_terminal():
    bench = Bench()
    bench.supervisor.saw_report("evil\x1b[2J", 2, "\x1b]0;title\x07 red \x1b[31m\r\n", {"k\x1b": "v\x9b"})
    bench.supervisor.saw_recorder(1, "\x1b[31mfull", {"ready": "\x1b"})
    bench.supervisor.saw_alignment(3, "\x1b[1m", {"worst_joint": "\x07"})
    watch = bench.supervisor.watch
    texts = [*watch.reports, watch.recorder.message, watch.alignment.message, watch.alignment.worst_joint]
    for item in watch.reports.values():
        texts += [item.message, *item.values, *item.values.values()]
    assert all(text.isprintable() for text in texts)


DRIVES = [
    (("start_rollout",), Mode.PAUSED),
    (("start_rollout", "pause", "takeover"), Mode.PAUSED),
    (("start_rollout", "pause", "takeover", "recovered"), Mode.PAUSED),
    (("start_demonstration",), Mode.IDLE),
]


@pytest.mark.parametrize("actions, ends", DRIVES)
def test_a_camera_that_dies_in_an_episode_pauses_it_and_ends_a_demonstration(actions, ends):
    bench = Bench()
    bench.press(*actions)
    moving = bench.mode
    assert bench.run(0.9, camera=False) == [] and bench.mode is moving
    (done,) = bench.run(0.2, camera=False)
    assert bench.mode is ends and "the camera ego is silent" in done
    assert "the camera ego is silent" in snapshot(bench.supervisor)["notice"]
    assert bench.run(2.0, camera=False) == [], "once"


def test_without_a_camera_only_a_forced_takeover_drives_the_robot_until_the_pictures_are_back():
    bench = Bench()
    bench.press("start_rollout", "pause")
    bench.run(2.0, camera=False)
    for action in ("resume", "takeover"):
        ok, text = bench.supervisor.request(action)
        assert not ok and "the camera ego is silent" in text
    bench.press("force_takeover")
    assert bench.run(3.0, camera=False) == [] and bench.mode is Mode.ADAPTATION
    bench.run(0.1)
    (done,) = bench.run(1.1, camera=False)
    assert bench.mode is Mode.PAUSED and "the camera ego is silent" in done


def test_a_client_that_vanishes_changes_nothing_while_the_dead_man_is_off():
    bench = Bench()
    bench.press("start_rollout")
    assert bench.run(5.0) == [] and bench.mode is Mode.ROLLOUT


@pytest.mark.parametrize("actions, ends", DRIVES)
def test_the_dead_man_stops_the_robot_within_the_lease_and_a_heartbeat_when_its_holder_vanishes(actions, ends):
    bench = Bench(dead_man=True)
    bench.press(*actions)
    moving = bench.mode
    assert bench.run(3.0, alive="panel 1") == [] and bench.mode is moving
    assert bench.run(0.25, alive="panel 2") == [], (
        "another page's signs of life do not count, but the lease lasts 300 ms"
    )
    (done,) = bench.run(0.15)
    assert (
        bench.mode is ends
        and "dead-man: panel 1 was silent" in done
        and "panel 1" in snapshot(bench.supervisor)["notice"]
    )
    assert bench.run(2.0) == [], "once"


def test_while_the_robot_moves_only_the_holder_of_the_lease_switches_the_dead_man_off():
    bench = Bench(dead_man=True)
    bench.press("start_rollout")
    ok, text = bench.supervisor.switch("dead_man", False, "panel 2")
    assert not ok and "panel 1 relies on the dead man" in text and bench.supervisor.session.dead_man
    assert bench.supervisor.switch("dead_man", False, "panel 1") == (True, "dead-man is off")


def test_the_lease_goes_to_the_page_that_acted_last():
    bench = Bench(dead_man=True)
    bench.press("start_rollout", "pause")
    bench.press("resume", client="panel 2")
    assert snapshot(bench.supervisor)["dead_man"] == {"on": True, "holder": "panel 2"}
    assert bench.run(1.0, alive="panel 2") == [] and bench.mode is Mode.ROLLOUT
    assert len(bench.run(0.4, alive="panel 1")) == 1 and bench.mode is Mode.PAUSED


def test_a_paused_robot_needs_no_lease():
    bench = Bench(dead_man=True)
    bench.press("start_rollout", "pause")
    assert bench.run(5.0) == [] and bench.mode is Mode.PAUSED


def test_a_service_cannot_set_the_robot_in_motion_in_dead_man_mode_but_can_stop_it():
    bench = Bench(dead_man=True)
    ok, text = bench.supervisor.request("start_rollout", "service")
    assert not ok and "holds the lease" in text
    bench.press("start_rollout")
    assert bench.supervisor.request("pause", "service")[0]


def test_a_page_that_switches_the_dead_man_on_during_a_rollout_holds_the_lease():
    bench = Bench()
    bench.press("start_rollout")
    assert bench.supervisor.switch("dead_man", True, "panel 3") == (True, "dead-man is on")
    assert bench.run(1.0, alive="panel 3") == []
    assert bench.run(0.4) and bench.mode is Mode.PAUSED
    assert not bench.supervisor.switch("gravity", True)[0]


def test_advice_is_acted_on_only_when_auto_pause_is_on():
    bench = Bench()
    bench.press("start_rollout")
    assert (
        bench.run(3.0, value=-0.9) == []
        and bench.mode is Mode.ROLLOUT
        and "pausing" in snapshot(bench.supervisor)["advice"]
    )
    bench.supervisor.switch("auto_pause", True)
    (done,) = bench.run(0.1, value=-0.9)
    assert bench.mode is Mode.PAUSED and "auto-pause: Value -0.90 below" in done


def test_a_resumed_rollout_gets_the_whole_time_again_before_the_next_auto_pause():
    bench = Bench(auto_pause=True)
    bench.press("start_rollout")
    bench.run(3.0, value=-0.9)
    assert bench.mode is Mode.PAUSED
    bench.press("resume")
    assert bench.run(1.5, value=-0.9) == []
    assert bench.run(1.0, value=-0.9) and bench.mode is Mode.PAUSED


def test_the_start_stage_is_announced_at_the_start_and_when_it_changes():
    bench = Bench()
    assert bench.supervisor.set_start_stage("grasped")[0]
    assert [p.name for p in bench.published if isinstance(p, StartStage)] == ["start", "grasped"]
    assert isinstance(bench.published[0], Transition), "the mode comes first"
    assert not bench.supervisor.set_start_stage("elsewhere")[0]
    bench.press("start_demonstration")
    assert not bench.supervisor.set_start_stage("start")[0], "not during an episode"


def test_an_episode_keeps_the_farthest_milestone_of_its_task():
    bench = Bench()
    supervisor = bench.supervisor
    task = supervisor.session.settings.task
    supervisor.learn_task(task, "", (), ("nothing done", "held", "done"))
    supervisor.saw_milestone(task, "done")  # between episodes: of nobody's episode
    bench.press("start_rollout")
    for name, milestone in ((task, "nothing done"), (task, "held"), (task, "nothing done"), ("another", "done")):
        supervisor.saw_milestone(name, milestone)
    supervisor.saw_milestone(task, "no milestone of it")
    state = snapshot(supervisor)
    assert (state["session"]["milestone"], state["episode"]["milestone"]) == ("nothing done", "held")
    bench.press("fail")
    supervisor.saw_milestone(task, "done")  # the scene after the episode
    assert bench.published[-1].milestone == "held" and supervisor.machine.episode.milestone == "held"


def test_an_episode_names_the_policy_that_is_in_force_not_the_one_the_session_began_with():
    bench = Bench(settings=EpisodeSettings("wipe", checkpoint="runs/base"))

    def named():
        bench.press("start_rollout", "abort")
        return [p.checkpoint for p in bench.published if isinstance(p, Episode)][-1]

    assert named() == "runs/base"  # a policy of others, which does not report
    bench.supervisor.saw_report("policy", 0, "running", {"in_force": "runs/better"})
    assert named() == "runs/better"
    bench.press("start_demonstration", "abort")
    assert [p.checkpoint for p in bench.published if isinstance(p, Episode)][-1] == ""
