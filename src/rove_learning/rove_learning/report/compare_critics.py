# SPDX-License-Identifier: Apache-2.0
"""`compare_critics`: value curves of several critics on the same held-out episodes, as PNG and JSON (paper, Fig. 5 and
6).

    rove run rove_learning compare_critics --dataset runs/held_out --critic OVE=runs/ove MC=runs/mc --out runs/figures

A critic is a folder that `train_critic` or `train` wrote. Fig. 5 compares critics trained with and without human
videos, Fig. 6 OVE and MC (`--critic.target mc`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rove_contract import files
from rove_contract.modes import Outcome, Stage
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.report import figures
from rove_learning.report.scored_critic import score_critic
from rove_learning.report.statistics import spearman

PICTURES = 8  # pictures per episode


@dataclass(frozen=True)
class CompareConfig:
    """Critics side by side on held-out data."""

    dataset: tuple[str, ...]  # episodes that no critic was trained on
    critic: tuple[str, ...]  # NAME=FOLDER
    out: str  # folder for PNG files and critics.json
    episodes: int = 4  # figures; interventions first, then failures
    device: str = "cpu"


def most_telling(buffer: Buffer, count: int) -> list[int]:
    """Numbers of the episodes to draw: interventions, then failures, then the rest; the longest of each."""

    def rank(number: int):
        episode = buffer.episodes[number]
        return (episode.t_r < 0, episode.outcome != Outcome.FAILURE, -len(episode))

    return sorted(range(len(buffer.episodes)), key=rank)[:count]


def summary(buffer: Buffer, value: np.ndarray, advantage: np.ndarray, returns: np.ndarray) -> dict:
    """How well a critic tells states apart on held-out data.

    value, advantage, returns: (N,) steps. span: 1st to 99th percentile of V. success, failure: mean V over episodes
    that ended so without help. progress: mean rank correlation of V with time in successes without help (1 = rises all
    the way). return_correlation: of V with the episodes' own returns. negative_advantage: share of frames with A < 0
    per stage.
    """
    alone = [(e, s) for e, s in zip(buffer.episodes, buffer.slices()) if e.takeover < 0]
    by = {o: [value[s].mean() for e, s in alone if e.outcome == o] for o in (Outcome.SUCCESS, Outcome.FAILURE)}
    rises = [spearman(value[s], np.arange(len(e))) for e, s in alone if e.outcome == Outcome.SUCCESS and len(e) > 2]
    return {
        "span": np.percentile(value, [1, 99]).round(1).tolist(),
        "success": float(np.mean(by[Outcome.SUCCESS])) if by[Outcome.SUCCESS] else None,
        "failure": float(np.mean(by[Outcome.FAILURE])) if by[Outcome.FAILURE] else None,
        "progress": float(np.nanmean(rises)) if np.isfinite(rises).any() else None,
        "return_correlation": float(np.corrcoef(value, returns)[0, 1])
        if np.std(value) > 0 and np.std(returns) > 0
        else None,
        "negative_advantage": {
            Stage(k).name.lower(): float((advantage[buffer.stage == k] < 0).mean()) for k in np.unique(buffer.stage)
        },
    }


def compare(config: CompareConfig, progress: bool = True) -> dict:
    """Draw the figures. Returns name -> `summary`, also in OUT/critics.json, and the PNG files under "figures"."""
    datasets = [Dataset(root) for root in config.dataset]
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    scored: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    numbers: dict[str, object] = {}
    for item in config.critic:
        name, _, folder = item.partition("=")
        if not folder:
            raise ValueError(f"--critic {item!r}: expected NAME=FOLDER")
        one = score_critic(folder, datasets, True, config.device, progress)
        buffer, returns = one.buffer, one.returns
        scored[name] = (one.value, one.advantage)
        numbers[name] = summary(buffer, *scored[name], returns)
    written = []
    for number in most_telling(buffer, config.episodes):
        episode, rows = buffer.episodes[number], buffer.slices()[number]
        pictures = buffer.images(np.linspace(rows.start, rows.stop - 1, PICTURES).astype(int))
        title = (
            f"{episode.kind.replace('_', ' ')} {episode.episode_id}, held out: {Outcome(episode.outcome).name.lower()}"
        )
        curves = {name: (value[rows], advantage[rows]) for name, (value, advantage) in scored.items()}
        figure = figures.compare_critics(
            pictures, curves, buffer.stage[rows], buffer.fps, title, episode.t_r, returns[rows]
        )
        file = out / f"critics_{number}.png"
        figure.savefig(file, dpi=110)
        written.append(str(file))
    result = {**numbers, "figures": written}
    files.write(out / "critics.json", json.dumps(result, indent=1) + "\n")
    return result


def main() -> int:
    import tyro

    try:
        print(json.dumps(compare(tyro.cli(CompareConfig, description=__doc__))))
    except (ValueError, OSError) as error:
        print(f"compare_critics: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
