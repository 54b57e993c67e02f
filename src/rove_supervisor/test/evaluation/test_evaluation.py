# SPDX-License-Identifier: Apache-2.0
"""Trials of a robot: random, paired and blind; nobody intervenes; nothing that ended is lost in a crash."""

import json
from collections import Counter

import pytest

from rove_contract.modes import Mode, Outcome
from rove_supervisor.evaluation import command, trials
from rove_supervisor.evaluation.trials import Evaluation
from rove_supervisor.panel.snapshot import snapshot
from rove_supervisor.supervisor import SessionSettings, Supervisor
from rove_supervisor.watch import Watch

POLICIES = {"base": "runs/base", "new": "runs/new"}


@pytest.fixture
def folder(tmp_path):
    trials.begin(tmp_path / "trials", trials.draw(POLICIES, 3, "erase_whiteboard", max_seconds=30.0, seed=5))
    return tmp_path / "trials"


class Session:
    """A supervisor in an evaluation, on a made-up clock, for which everything is fine."""

    def __init__(self, folder, **settings):
        self.now = 100.0
        watch = Watch(0.35, False, ("arm",), needs_camera=False)
        watch.policies = 1
        self.evaluation = Evaluation(folder)
        self.supervisor = Supervisor(
            SessionSettings(**settings),
            watch,
            lambda publication: None,
            clock=lambda: self.now,
            epoch=lambda: int(self.now * 1e9),
            evaluation=self.evaluation,
        )

    def load(self):
        self.supervisor.saw_policy_in_force(self.evaluation.checkpoint, "")

    def press(self, action):
        self.now += 1.0
        self.supervisor.saw_robot()
        return self.supervisor.request(action)

    def trial(self, *actions):
        self.load()
        for action in ("start_rollout", *actions):
            ok, text = self.press(action)
            assert ok, text


def test_from_every_start_every_policy_begins_once_and_the_order_is_drawn_anew():
    plans = [trials.draw(POLICIES | {"third": "wss://gpu:8000"}, 20, "wipe") for _ in range(4)]
    for plan in plans:
        assert Counter((trial.start, trial.policy) for trial in plan.trials) == Counter(
            (start, letter) for start in range(1, 21) for letter in "ABC"
        )
        for block in range(20):  # a pair is complete before the next start
            assert len({trial.start for trial in plan.trials[3 * block : 3 * block + 3]}) == 1
        assert [trial.number for trial in plan.trials] == list(range(1, 61))
    assert len({plan.trials for plan in plans}) == 4
    assert plans[0].trials != trials.draw(POLICIES, 20, "wipe", seed=1).trials
    assert trials.draw(POLICIES, 20, "wipe", seed=1) == trials.draw(POLICIES, 20, "wipe", seed=1)
    assert len({trials.draw(POLICIES, 1, "wipe", seed=seed).policies["A"] for seed in range(20)}) == 2


def test_trials_run_to_their_end_and_their_files_are_what_compare_reads(folder):
    session, outcomes = Session(folder), {}
    while (trial := session.evaluation.trial) is not None:
        good = session.evaluation.plan.policies[trial.policy] == "new"
        session.trial("succeed" if good else "fail")
        outcomes[trial.start, trial.policy] = good
        last = trial.number == 6
        assert (folder / "base.json").exists() == last, "results are written when nobody can be influenced any more"
    for name in POLICIES:
        written = json.loads((folder / f"{name}.json").read_text())
        assert [(row["seed"], row["success"]) for row in written["rows"]] == [(s, name == "new") for s in (1, 2, 3)]
        assert written["checkpoint"] == POLICIES[name] and written["aborted"] == 0
    assert session.press("start_rollout") == (False, "evaluation: all 6 trials are done")


def test_a_trial_begins_only_with_its_policy_in_force(folder):
    session = Session(folder)
    ok, text = session.press("start_rollout")
    assert not ok and text.endswith("(its policy is being loaded)")
    session.supervisor.saw_policy_in_force("runs/another", "")
    assert not session.press("start_rollout")[0]
    session.trial("fail")
    ok, text = session.press("start_rollout")
    assert not ok and text.startswith("trial 2 of 6")


def test_panel_episode_and_refusals_do_not_say_which_policy_it_is(folder):
    session = Session(folder)
    session.load()
    session.press("start_rollout")
    shown = json.dumps(snapshot(session.supervisor))
    assert not any(word in shown for word in (*POLICIES, *POLICIES.values()))
    assert "trial 1 of 6" in shown
    episode = session.supervisor.machine.episode
    assert episode.checkpoint == session.evaluation.policy and "trial 1, start" in episode.note


def test_nobody_intervenes_and_a_pause_ends_in_failure_or_a_repeated_trial(folder):
    session = Session(folder)
    assert "no demonstrations" in session.press("start_demonstration")[1]
    session.trial("pause")
    for action in ("takeover", "force_takeover", "resume", "succeed"):
        ok, text = session.press(action)
        assert not ok and ("nobody intervenes" in text or "was paused" in text), action
    assert session.press("abort")[0]
    assert session.evaluation.trial.number == 1
    session.trial("succeed")
    session.trial("estop", "reset")  # of a policy, not of the people: it has failed
    assert [row["outcome"] for row in session.evaluation.attempts] == ["aborted", "success", "failure"]
    assert session.supervisor.switch("auto_pause", True) == (
        False,
        "nobody intervenes in an evaluation, the value neither",
    )
    with pytest.raises(ValueError, match="auto_pause and evaluation exclude each other"):
        Session(folder, auto_pause=True)


def test_a_trial_that_takes_too_long_has_failed(folder):
    session = Session(folder)
    session.trial()
    session.now += 29.0
    session.supervisor.heartbeat()
    assert session.supervisor.mode is Mode.ROLLOUT
    session.now += 1.5
    assert "more than 30 s" in session.supervisor.heartbeat()
    assert session.evaluation.attempts[-1]["outcome"] == Outcome.FAILURE.name.lower()


def test_after_a_crash_it_goes_on_where_it_was(folder):
    session = Session(folder)
    session.trial("succeed")
    session.trial("fail")
    session.trial()  # and now the power goes
    with open(folder / trials.TRIALS, "ab") as file:
        file.write(b'{"trial": 3, "outc')
    again = Session(folder)
    assert again.evaluation.trial == session.evaluation.plan.trials[2]
    again.trial("succeed")
    assert [row["trial"] for row in Evaluation(folder).attempts] == [1, 2, 3]


def test_the_command_plans_shows_and_refuses(tmp_path, capsys):
    for name in POLICIES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    words = [f"{name}={tmp_path / name}" for name in POLICIES]
    out = str(tmp_path / "trials")
    assert command.main([out, *words, "--starts", "2"]) == 0
    assert "trial 1 of 4" in capsys.readouterr().out
    assert command.main([out, *words]) == 2
    assert "holds an evaluation already" in capsys.readouterr().err
    assert command.main([str(tmp_path / "other"), words[0]]) == 2
    assert command.main([str(tmp_path / "other"), words[0], "new=nowhere"]) == 2
    assert "new: no checkpoint at nowhere" in capsys.readouterr().err
    assert command.main([str(tmp_path / "nothing")]) == 2
    assert "holds no evaluation" in capsys.readouterr().err
    session = Session(out)
    session.trial("succeed")
    assert command.main([out, "--results"]) == 0
    assert len(list((tmp_path / "trials").glob("*.json"))) == 2  # plan and the one policy with a trial
