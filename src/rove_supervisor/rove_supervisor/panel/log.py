# SPDX-License-Identifier: Apache-2.0
"""The session's log: stage timeline of the running episode and the numbers over all episodes. Pure; times are s of one
clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from rove_contract.episode import Episode
from rove_contract.modes import ACTIVE, Mode, Outcome

OPERATOR_MODES = (Mode.ADAPTATION, Mode.RECOVERY)


@dataclass
class Segment:
    """Stretch of an episode in one mode; begin, end: s since the episode began, end None while it runs."""

    mode: Mode
    begin: float
    end: float | None = None

    def duration(self, now: float) -> float:
        return (now if self.end is None else self.end) - self.begin


@dataclass
class EpisodeRow:
    """One finished episode. seconds: time per mode, pauses apart."""

    id: str
    kind: str
    outcome: Outcome
    start_stage: str
    seconds: dict[Mode, float]

    @property
    def length(self) -> float:
        """s without pauses, as the dataset will hold it."""
        return sum(s for mode, s in self.seconds.items() if mode is not Mode.PAUSED)

    @property
    def intervention(self) -> float:
        """s under the operator after a takeover."""
        return sum(self.seconds.get(mode, 0.0) for mode in OPERATOR_MODES)


@dataclass
class SessionLog:
    """Fed with every transition and every ended episode."""

    timeline: list[Segment] = field(default_factory=list)
    rows: list[EpisodeRow] = field(default_factory=list)
    before: Counter[str] = field(default_factory=Counter)  # episodes of earlier sessions per start stage
    _origin: float = 0.0

    def transition(self, previous: Mode, mode: Mode, now: float) -> None:
        """A change of mode at `now`; begins a new timeline when an episode begins."""
        if previous not in ACTIVE and mode in ACTIVE:
            self.timeline, self._origin = [], now
        if self.timeline and self.timeline[-1].end is None:
            self.timeline[-1].end = now - self._origin
        if mode in ACTIVE:
            self.timeline.append(Segment(mode, now - self._origin))

    def elapsed(self, now: float) -> float:
        """s since the running episode began, or the whole length of the last one."""
        if not self.timeline:
            return 0.0
        end = self.timeline[-1].end
        return now - self._origin if end is None else end

    def ended(self, episode: Episode) -> None:
        """The episode of the present timeline ended."""
        seconds: dict[Mode, float] = {}
        for segment in self.timeline:
            seconds[segment.mode] = seconds.get(segment.mode, 0.0) + segment.duration(segment.begin)
        self.rows.append(EpisodeRow(episode.id, episode.kind, episode.outcome, episode.start_stage, seconds))

    def numbers(self) -> dict:
        """Rates over judged rollouts (success or failure; aborted ones are not trained on and not counted).

        success_rate: rollouts that ended well, with or without help. autonomous_rate: those without any takeover.
        intervention_fraction: share of time under the operator over the rollouts with a takeover, pauses removed
        (paper, Table 2). None: there was none yet.
        """
        judged = [
            row for row in self.rows if row.kind == "rollout" and row.outcome in (Outcome.SUCCESS, Outcome.FAILURE)
        ]
        good = [row for row in judged if row.outcome is Outcome.SUCCESS]
        helped = [row for row in judged if row.intervention > 0.0]
        time = sum(row.length for row in helped)
        return {
            "episodes": len(self.rows),
            "rollouts": len(judged),
            "demonstrations": sum(row.kind == "demonstration" and row.outcome is Outcome.SUCCESS for row in self.rows),
            "aborted": sum(row.outcome is Outcome.ABORTED for row in self.rows),
            "success": len(good),
            "success_rate": len(good) / len(judged) if judged else None,
            "autonomous_rate": sum(row.intervention == 0.0 for row in good) / len(judged) if judged else None,
            "intervention_fraction": sum(row.intervention for row in helped) / time if time > 0.0 else None,
        }

    def collected(self) -> Counter[str]:
        """Episodes per start stage, aborted ones apart."""
        return self.before + Counter(row.start_stage for row in self.rows if row.outcome is not Outcome.ABORTED)

    def least_collected(self, stages: tuple[str, ...]) -> str:
        """Start stage with the fewest episodes that count; the first of them on a tie (paper, sec. 3.1: balance start
        stages).
        """
        counts = self.collected()
        return min(stages, key=lambda stage: counts[stage])


def collected_before(bags: Path, task: str) -> Counter[str]:
    """Episodes of `task` per start stage among the closed bags in `bags`, aborted ones apart; a bag that cannot be read
    counts nothing.
    """
    counts: Counter[str] = Counter()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in bags.glob("*/metadata.yaml"):
        try:
            custom = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["rosbag2_bagfile_information"][
                "custom_data"
            ]
            if custom["task"] == task and custom["outcome"] in ("success", "failure"):
                counts[custom["start_stage"]] += 1
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
            continue  # not ours, or half written: the recorder's business
    return counts
