# SPDX-License-Identifier: Apache-2.0
"""Trials of policies on a robot, in an order that nobody can guess, on paper until the last one is done. No ROS.

A folder holds all of it:

    plan.json      the policies under blinded names, and the order of the trials
    trials.jsonl   one line per attempt, on the disk before the next one may begin
    NAME.json      of each policy, as `rove run rove_learning compare` reads it; written when all trials are done

Starts (places of the objects) are drawn one after another, and from each start every policy begins once, in random
order: so every trial has its pair, also when the evaluation is left before its end, and no policy gets the warm robot.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rove_contract import files
from rove_contract.episode import Episode
from rove_contract.modes import Outcome, Trigger

PLAN, TRIALS = "plan.json", "trials.jsonl"
MOST = 26  # policies, one letter each


@dataclass(frozen=True)
class Trial:
    """number: from 1 on. start: number of the objects' places, from 1 on. policy: its blinded name, a letter."""

    number: int
    start: int
    policy: str


@dataclass(frozen=True)
class Plan:
    """policies: blinded name -> its name. paths: blinded name -> checkpoint. max_seconds: after which a trial has
    failed, 0: never. task: of the session.
    """

    task: str
    policies: dict[str, str]
    paths: dict[str, str]
    trials: tuple[Trial, ...]
    max_seconds: float = 0.0


def draw(policies: dict[str, str], starts: int, task: str, max_seconds: float = 0.0, seed: int | None = None) -> Plan:
    """A plan for {name: checkpoint}. seed: for the same plan again; None: of the system. Raises ValueError."""
    if not 2 <= len(policies) <= MOST:
        raise ValueError(f"{len(policies)} policies, expected 2 to {MOST}")
    if starts < 1:
        raise ValueError(f"{starts} starts, expected 1 or more")
    for name in policies:
        files.name(name, "policy")
    rng = random.Random(secrets.randbits(64) if seed is None else seed)
    letters = [chr(ord("A") + i) for i in range(len(policies))]
    blinded = dict(zip(rng.sample(letters, len(letters)), policies, strict=True))
    order = [
        (start, letter)
        for start in rng.sample(range(1, starts + 1), starts)
        for letter in rng.sample(letters, len(letters))
    ]
    trials = tuple(Trial(number, start, letter) for number, (start, letter) in enumerate(order, start=1))
    return Plan(task, blinded, {letter: policies[name] for letter, name in blinded.items()}, trials, max_seconds)


def begin(folder: Path, plan: Plan) -> None:
    """Make the folder of an evaluation. Raises ValueError when one is there, OSError."""
    if (folder / PLAN).exists():
        raise ValueError(f"{folder} holds an evaluation already; take another folder, or go on with it")
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / PLAN, json.dumps(asdict(plan), indent=1) + "\n")


class Evaluation:
    """An evaluation and how far it is. attempts: of trials, in the order in which they ended.

    Raises ValueError for a folder that holds none, or files that cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        try:
            values = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
            trials = tuple(Trial(**row) for row in values.pop("trials"))
            self.plan = Plan(trials=trials, **values)
            self.attempts = self._read()
            self.results()  # reads every field of every line
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{self.folder} holds no evaluation that can be read ({error!r}); "
                "`rove run rove_supervisor evaluation FOLDER NAME=CHECKPOINT ... --starts N` makes one"
            ) from error
        self.paused = False  # the trial that runs was
        self.ready = False  # the policy of the next trial is in force
        self.trouble = ""  # why it is not

    def _read(self) -> list[dict[str, Any]]:
        file = self.folder / TRIALS
        if not file.exists():
            return []
        lines = file.read_bytes().split(b"\n")
        whole = lines[:-1]  # a power cut in the middle of a line: that trial is repeated
        if lines[-1]:
            files.write(file, b"".join(line + b"\n" for line in whole))
        return [json.loads(line) for line in whole]

    @property
    def trial(self) -> Trial | None:
        """The one that is next, or runs; None: all are done."""
        done = {row["trial"] for row in self.attempts if row["outcome"] != "aborted"}
        return next((trial for trial in self.plan.trials if trial.number not in done), None)

    @property
    def policy(self) -> str:
        """Blinded name of the one that is next, or runs; "" when all trials are done."""
        return self.trial.policy if self.trial else ""

    @property
    def checkpoint(self) -> str:
        """Of that policy; "" when all trials are done."""
        return self.plan.paths[self.policy] if self.policy else ""

    def text(self) -> str:
        """For the people at the panel, who must not know the policy."""
        trial, count = self.trial, len(self.plan.trials)
        if trial is None:
            return f"evaluation: all {count} trials are done"
        state = "" if self.ready else f" ({self.trouble or 'its policy is being loaded'})"
        return f"trial {trial.number} of {count} · objects as in start {trial.start}{state}"

    def refusal(self, trigger: Trigger) -> str:
        """Why nobody may do this in an evaluation now; "" if it is possible."""
        if trigger is Trigger.START_DEMONSTRATION:
            return "an evaluation has no demonstrations"
        if trigger in (Trigger.TAKEOVER, Trigger.RECOVERED):
            return "nobody intervenes in an evaluation: Failure, or Abort to repeat the trial"
        if trigger is Trigger.START_ROLLOUT and not self.ready:
            return self.text()
        if trigger in (Trigger.RESUME, Trigger.SUCCEED) and self.paused:
            return "the trial was paused: Failure, or Abort to repeat it"
        return ""

    def note(self) -> str:
        """Of the episode of this trial."""
        return (
            f"evaluation {self.folder.name}, trial {self.trial.number}, start {self.trial.start}" if self.trial else ""
        )

    def ended(self, episode: Episode, trigger: Trigger) -> None:
        """The episode of the trial ended by `trigger`; the line is on the disk when this returns. An aborted trial is
        repeated; an emergency stop is a failure. Raises OSError.
        """
        trial = self.trial
        if trial is None:
            return
        outcome = Outcome.FAILURE if trigger is Trigger.ESTOP else episode.outcome
        row = asdict(trial) | {
            "trial": trial.number,
            "outcome": outcome.name.lower(),
            "paused": self.paused,
            "episode": episode.id,
            "seconds": round((episode.ended_ns - episode.started_ns) * 1e-9, 2),
            "note": episode.note,
        }
        del row["number"]
        with open(self.folder / TRIALS, "ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.attempts.append(row)
        self.paused = self.ready = False
        if self.trial is None:
            self.write_results()

    def results(self) -> dict[str, dict[str, Any]]:
        """Name of a policy -> what `compare` reads: {"rows": [{"seed": start, "success": true}, ...], ...}."""
        found = {}
        for letter, name in self.plan.policies.items():
            mine = [row for row in self.attempts if row["policy"] == letter]
            rows = [
                {"seed": row["start"], "success": row["outcome"] == "success"}
                | {key: row[key] for key in ("trial", "episode", "seconds", "note")}
                for row in mine
                if row["outcome"] != "aborted"
            ]
            settings = {"task": self.plan.task, "max_seconds": self.plan.max_seconds}
            found[name] = {
                "checkpoint": self.plan.paths[letter],
                "config": settings,
                "aborted": sum(row["outcome"] == "aborted" for row in mine),
                "rows": sorted(rows, key=lambda row: row["seed"]),
            }
        return found

    def write_results(self) -> list[Path]:
        """NAME.json of each policy with a trial. Whoever reads them is no longer blind. Raises OSError."""
        written = []
        for name, result in self.results().items():
            if result["rows"]:
                written.append(self.folder / f"{name}.json")
                files.write(written[-1], json.dumps(result, indent=1) + "\n")
        return written
