# SPDX-License-Identifier: Apache-2.0
"""The episode: what the supervisor announces on /supervisor/episode and what stays with its bag and dataset rows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from rove_contract.messages import diagnostic_values
from rove_contract.modes import Outcome

ACTIVE, ENDED = "active", "ended"


@dataclass(frozen=True)
class Episode:
    """One episode. state: "active" | "ended". stamps: ns since the epoch, 0 = not yet. t_r: end of adaptation (paper,
    sec. 3.1).
    """

    id: str
    task: str  # name, e.g. "erase_whiteboard"
    instruction: str = ""  # l, the words the policy gets, e.g. "erase the whiteboard"
    state: str = ACTIVE
    outcome: Outcome = Outcome.NONE
    start_stage: str = "start"  # task progress at which data collection began (paper, sec. 3.1)
    operator: str = ""
    kind: str = "rollout"  # "rollout" | "demonstration"
    checkpoint: str = ""
    started_ns: int = 0
    ended_ns: int = 0
    t_r_ns: int = 0
    note: str = ""
    milestone: str = ""  # farthest one of the task that was reached, in its words; only a simulator can tell

    def ended(self, outcome: Outcome, stamp_ns: int) -> Episode:
        return replace(self, state=ENDED, outcome=outcome, ended_ns=stamp_ns)


def to_values(episode: Episode) -> dict[str, str]:
    """Episode -> key/value strings for diagnostic_msgs/DiagnosticStatus.values."""
    values = {f.name: getattr(episode, f.name) for f in fields(Episode)}
    values["outcome"] = episode.outcome.name.lower()
    return {key: str(value) for key, value in values.items()}


def from_values(values: dict[str, str]) -> Episode:
    """Inverse of `to_values`. Raises ValueError naming the key that is missing or wrong."""
    known: dict[str, Any] = {}
    for f in fields(Episode):
        if f.name not in values:
            if f.name in ("id", "task"):
                raise ValueError(f"the episode message has no {f.name!r}; it has {sorted(values)}")
            continue
        text = values[f.name]
        try:
            if f.name == "outcome":
                known[f.name] = Outcome[text.upper()]
            elif f.name.endswith("_ns"):
                known[f.name] = int(text)
            else:
                known[f.name] = text
        except (KeyError, ValueError):
            raise ValueError(f"the episode message has {f.name} = {text!r}") from None
    return Episode(**known)


def from_status(status: Any) -> Episode:
    """diagnostic_msgs/DiagnosticStatus -> Episode."""
    return from_values(diagnostic_values(status))
