# SPDX-License-Identifier: Apache-2.0
"""`critic_quality`: does a critic deserve its labels? On held-out simulated episodes, whose truth is known, in steps.

    rove run rove_learning critic_quality --run runs/policy --dataset runs/held_out

Writes a page and its numbers: error at the end of successes, bias per phase of the task against an optimistic
reference, rank correlation within episodes, and how well the advantage tells productive chunks from idle ones, beside
what the reference itself would tell: a critic of steps can hardly do better.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from rove_contract import files
from rove_contract.modes import Outcome, Stage
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.deployment.truth import load_truth
from rove_learning.report import figures
from rove_learning.report.page import embed, page, paragraph, table
from rove_learning.report.scored_critic import score_critic
from rove_learning.report.statistics import spearman
from rove_sim.people.watching import RISE

LAST = 16  # frames of a success whose end everybody knows
ALIKE = 0.01  # of the advance: frames in like states, which the reference looks at
NEIGHBOURS = 60  # and at least so many
FASTEST = 25.0  # percentile of the steps that people still needed there: OVE is optimistic, and so is its reference
PRODUCTIVE = RISE  # rise of the advance within H and within 2 H steps that a watching person takes for work
ENOUGH = 50  # frames of a group that a figure is given for


@dataclass(frozen=True)
class QualityConfig:
    """A critic and episodes that it was not trained on."""

    run: str  # folder that `train` or `train_critic` wrote
    dataset: tuple[str, ...]  # of `collect` and `interventions`, with what the simulator knew
    out: str = ""  # HTML file; empty: RUN/critic_quality.html
    device: str = "cpu"


def reference_steps(milestone: np.ndarray, advance: np.ndarray, remaining: np.ndarray) -> np.ndarray:
    """(N,) steps that the fastest quarter of people still need from like states. All (N,): milestone, and within one
    those alike in advance, over frames of successes; remaining: steps to the end of the frame's own episode.
    """
    out = np.empty(len(remaining))
    for number in np.unique(milestone):
        rows = np.flatnonzero(milestone == number)
        rows = rows[np.argsort(advance[rows], kind="stable")]
        sorted_ = advance[rows]
        begin = np.searchsorted(sorted_, sorted_ - ALIKE, "left")
        end = np.searchsorted(sorted_, sorted_ + ALIKE, "right")
        lacking = np.maximum(0, NEIGHBOURS - (end - begin))
        begin = np.maximum(0, begin - (lacking + 1) // 2)
        end = np.maximum(end + (lacking + 1) // 2, begin + NEIGHBOURS)
        for window in np.unique(np.stack([begin, end]), axis=1).T:
            alike = (begin == window[0]) & (end == window[1])
            out[rows[alike]] = np.percentile(remaining[rows[window[0] : window[1]]], FASTEST)
    return out


def separation(advantage: np.ndarray, good: np.ndarray, bad: np.ndarray) -> float | None:
    """Area under the ROC curve of the advantage (N,) for good against bad frames, (N,) bool each; 0.5 is chance."""
    if min(good.sum(), bad.sum()) < ENOUGH:
        return None
    u = stats.mannwhitneyu(advantage[good], advantage[bad]).statistic
    return float(u / (good.sum() * bad.sum()))


def measure(
    buffer: Buffer, value: np.ndarray, advantage: np.ndarray, threshold: float, horizon: int, milestones: tuple
) -> tuple[dict, list[dict], dict]:
    """The figures, a row per phase, and the calibration's points. value, advantage (N,) and threshold in steps."""
    truth = [load_truth(root, e.episode_id) for root, e in zip(buffer.roots, buffer.episodes)]
    lacking = [e.episode_id for e, t in zip(buffer.episodes, truth) if t is None or len(t["advance"]) != len(e)]
    if lacking:
        raise ValueError(f"{len(lacking)} episodes, e.g. {lacking[0]}, lack what the simulator knew (meta/truth)")
    advance, milestone, behaviour = (
        np.concatenate([t[key] for t in truth if t]) for key in ("advance", "milestone", "behaviour")
    )
    place, length = np.arange(len(buffer)) - buffer.first, buffer.last - buffer.first
    remaining = (length - place).astype(float)
    success = buffer.outcome == Outcome.SUCCESS
    # After a takeover the penalty lies behind, before it ahead: the steps to go are the whole value only there.
    straight = success & np.isin(buffer.stage, (Stage.DEMONSTRATION, Stage.RECOVERY))
    reference = np.full(len(buffer), np.nan)
    reference[straight] = -reference_steps(milestone[straight], advance[straight], remaining[straight])
    ends = straight & (remaining < LAST)
    positive = advantage > threshold
    rows = []
    for number, name in enumerate(milestones):
        at = straight & (milestone == number)
        if at.sum() < ENOUGH:
            continue
        truth_, bias = float(reference[at].mean()), float((value - reference)[at].mean())
        rows.append(
            {
                "phase": name,
                "frames": int(at.sum()),
                "value": float(value[at].mean()),
                "reference": truth_,
                "bias": bias,
                "allowed": max(5.0, 0.1 * abs(truth_)),
                "share_of_positives_to_frames": float(positive[at].sum() / max(1, positive[straight].sum()))
                / (at.sum() / straight.sum()),
            }
        )
    ranks = [
        spearman(value[s][straight[s]], reference[s][straight[s]])
        for s in buffer.slices()
        if straight[s].sum() > horizon
    ]
    frames = np.arange(len(buffer))
    soon, later = (advance[np.minimum(frames + n * horizon, buffer.last)] - advance for n in (1, 2))
    whole = place + horizon <= length
    good, bad = np.minimum(soon, later) >= PRODUCTIVE, np.maximum(soon, later) <= 0.0
    separations = {}
    for name, kinds in (
        ("demonstrations", (Stage.DEMONSTRATION,)),
        ("interventions", (Stage.ADAPTATION, Stage.RECOVERY)),
    ):
        at = whole & np.isin(buffer.stage, kinds)
        separations[name] = separation(advantage, at & good, at & bad)
    known = whole & straight & (np.minimum(frames + horizon, buffer.last) < buffer.last)
    gained = np.where(known, reference[np.minimum(frames + horizon, buffer.last)] - reference - horizon, np.nan)
    separations["reference"] = separation(gained, known & good, known & bad)
    behaviours = [
        {
            "behaviour": name,
            "frames": int(at.sum()),
            "advantage": float(advantage[at].mean()),
            "positive": float(positive[at].mean()),
        }
        for name in np.unique(behaviour)
        if name and (at := whole & (behaviour == name)).sum() >= ENOUGH
    ]
    groups = np.array_split(np.flatnonzero(straight)[np.argsort(value[straight], kind="stable")], 10)
    points = [{"frames": len(g), "value": float(value[g].mean()), "return": float(reference[g].mean())} for g in groups]
    figures_ = {
        "episodes": len(buffer.episodes),
        "frames": len(buffer),
        "end_error": float(np.abs(value[ends] + remaining[ends]).mean()) if ends.any() else None,
        "rank_correlation": float(np.nanmean(ranks)) if ranks else None,
        **{f"auc_{name}": area for name, area in separations.items()},
        "worst_bias_to_allowed": max((abs(row["bias"]) / row["allowed"] for row in rows), default=None),
        "worst_share_of_positives": max((row["share_of_positives_to_frames"] for row in rows), default=None),
    }
    return figures_, rows, {"calibration": points, "behaviours": behaviours}


def assess(config: QualityConfig, progress: bool = True) -> dict:
    """Measure, and write the page. Returns its numbers, also in a .json file beside it. Raises ValueError."""
    from rove_sim.tasks import task as tasks

    run = Path(config.run)
    scored = score_critic(run, [Dataset(root) for root in config.dataset], False, config.device, progress)
    buffer, advantage = scored.buffer, scored.advantage
    labels = run / "labels.npz"
    threshold = float(np.load(labels)["threshold"]) if labels.is_file() else float("nan")
    if not np.isfinite(threshold):
        threshold = float(np.percentile(advantage, 70.0))
    known = [t for t in tasks.TASKS if t.instruction in buffer.tasks]
    if len(known) != 1:
        raise ValueError(f"expected episodes of one simulated task, got {', '.join(buffer.tasks)}")
    numbers, rows, more = measure(buffer, scored.value, advantage, threshold, scored.horizon, known[0].milestones)
    out = Path(config.out) if config.out else run / "critic_quality.html"
    parts = [
        ("Figures", table([numbers])),
        (
            "Bias by phase",
            paragraph("Reference: what the fastest quarter of people still needed from like states, in steps.")
            + table(rows),
        ),
        ("Advantage by what people do", table(more["behaviours"])),
        ("Calibration", embed(figures.calibration(more["calibration"]))),
    ]
    files.write(out, page(f"Critic of {run.name}", parts))
    result = {**numbers, "phases": rows, **more}
    files.write(out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    return result


def main() -> int:
    import tyro

    try:
        result = assess(tyro.cli(QualityConfig, description=__doc__, prog="rove run rove_learning critic_quality"))
    except (ValueError, OSError) as error:
        print(f"critic_quality: {error}", file=sys.stderr)
        return 2
    print(
        json.dumps({key: value for key, value in result.items() if key not in ("phases", "calibration", "behaviours")})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
