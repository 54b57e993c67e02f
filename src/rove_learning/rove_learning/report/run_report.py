# SPDX-License-Identifier: Apache-2.0
"""`report`: one self-contained HTML page about a training run, and the same numbers as JSON beside it.

rove run rove_learning report --run runs/policy --evaluation before=runs/base/evaluation.json
  after=runs/policy/evaluation.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rove_contract import files
from rove_contract.modes import Outcome, Stage
from rove_contract.timing import POLICY_HZ
from rove_learning.report import diagnostics, figures
from rove_learning.report.page import Section, embed, embed_png, page, table, warning


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows."""

    run: str  # folder written by `train`
    out: str = ""  # HTML file; empty: RUN/report.html
    evaluation: tuple[str, ...] = ()  # NAME=FILE.json written by `evaluate`
    episodes: int = 3  # value curves shown
    critics: str = ""  # folder that `compare_critics` wrote: its figures and numbers come into the page


def episode_rows(labels: dict[str, np.ndarray]) -> list[dict]:
    """One row per episode of D^actor: kind, outcome, length, intervention share, mean advantage, share of positives."""
    rows = []
    for number in np.unique(labels["episode"]):
        chosen = labels["episode"] == number
        stage = labels["stage"][chosen]
        rows.append(
            {
                "episode": str(labels["episode_id"][number]) or str(number),
                "kind": str(labels["kind"][number]),
                "outcome": Outcome(int(labels["outcome"][chosen][0])).name.lower(),
                "seconds": round(len(stage) / POLICY_HZ, 2),
                "intervention": float(np.isin(stage, (Stage.ADAPTATION, Stage.RECOVERY)).mean()),
                "mean_advantage": _number(labels["advantage"][chosen].mean()),
                "positive": float(labels["positive"][chosen].mean()),
                "kept": float(labels["keep"][chosen].mean()),
            }
        )
    return rows


def _number(value) -> float | None:
    return float(value) if np.isfinite(value) else None


def stage_rows(labels: dict[str, np.ndarray]) -> list[dict]:
    """Share of positive labels and mean advantage per stage."""
    rows = []
    for kind in Stage:
        chosen = labels["stage"] == kind
        if chosen.any():
            rows.append(
                {
                    "stage": kind.name.lower(),
                    "frames": int(chosen.sum()),
                    "positive": float(labels["positive"][chosen].mean()),
                    "mean_advantage": _number(labels["advantage"][chosen].mean()),
                }
            )
    return rows


def _most_telling(labels: dict[str, np.ndarray], count: int) -> list[int]:
    """Episodes whose value curve says most: interventions first, then failures, then the rest; the longest of each."""

    def rank(number):
        chosen = labels["episode"] == number
        stage, outcome = labels["stage"][chosen], labels["outcome"][chosen][0]
        return (not np.isin(stage, (Stage.ADAPTATION, Stage.RECOVERY)).any(), outcome != Outcome.FAILURE, -chosen.sum())

    return sorted(np.unique(labels["episode"]).tolist(), key=rank)[:count]


def sections(run: Path, episodes: int = 3) -> tuple[list[Section], dict]:
    """(title, HTML) of each section about a run, and its numbers. Raises ValueError when the folder holds no finished
    run.
    """
    missing = [name for name in ("train.json", "labels.npz", "history.json") if not (run / name).is_file()]
    if missing:
        raise ValueError(f"{run} has no {', '.join(missing)}: not a folder that `train` finished")
    summary = json.loads((run / "train.json").read_text(encoding="utf-8"))
    history = json.loads((run / "history.json").read_text(encoding="utf-8"))
    with np.load(run / "labels.npz") as file:
        labels = dict(file)
    parts = [("Run", table([{key: value for key, value in summary.items() if not isinstance(value, dict)}]))]
    threshold = float(labels["threshold"])
    if np.isfinite(labels["value"]).all():
        for number in _most_telling(labels, episodes):
            chosen = labels["episode"] == number
            outcome = Outcome(int(labels["outcome"][chosen][0])).name.lower()
            title = f"{labels['kind'][number]} {labels['episode_id'][number]}: {outcome}"
            curve = figures.value_curve(
                labels["value"][chosen],
                labels["advantage"][chosen],
                labels["stage"][chosen],
                threshold,
                POLICY_HZ,
                title,
            )
            parts.append((f"Value over episode {number}", embed(curve)))
        parts.append(
            (
                "Advantages and threshold",
                embed(figures.advantage_histogram(labels["advantage"], labels["stage"], threshold)),
            )
        )
    by_stage, by_episode = stage_rows(labels), episode_rows(labels)
    parts.append(("Labels per stage", table(by_stage)))
    behaviour, recovery = diagnostics.behaviour_rows(labels), diagnostics.recovery_row(labels)
    parts.append(("Labels by behaviour", table(behaviour)))
    parts.append(("Length of recoveries", _recoveries(recovery)))
    scores = diagnostics.held_out_scores(labels)
    if scores is not None:
        calibration = diagnostics.calibration(labels)
        parts.append(("Critic on held-out episodes", table([scores]) + embed(figures.calibration(calibration))))
    if "condition_effect_rad" in summary:
        effect = {name: summary[name] for name in ("condition_effect_rad", "sampling_noise_rad")}
        parts.append(("What the text condition moves", table([effect])))
    parts.append(("Losses", embed(figures.losses(history))))
    parts.append(("Episodes", table(by_episode)))
    numbers = {"train": summary, "stages": by_stage, "behaviour": behaviour, "recovery": recovery}
    return parts, numbers | {"held_out": scores, "episode_table": by_episode}


def _recoveries(row: dict) -> str:
    figures_ = {key: value for key, value in row.items() if key != "warning"}
    return (warning(row["warning"]) if row["warning"] else "") + table([figures_])


def evaluation_section(results: dict[str, dict]) -> Section:
    """(title, HTML) of success rates; results: name -> what `evaluate` returned."""
    bars = figures.success_bars([(name, r["success_rate"], tuple(r["wilson95"])) for name, r in results.items()])
    rows = [
        {
            "policy": name,
            "beta": r.get("guidance"),
            "episodes": r["episodes"],
            "success": r["success_rate"],
            "95 % from": r["wilson95"][0],
            "to": r["wilson95"][1],
            **r.get("milestones", {}),
        }
        for name, r in results.items()
    ]
    return "Success in the simulator, same seeds", embed(bars) + table(rows)


def critics_section(folder: Path) -> tuple[str, str, dict]:
    """(title, HTML, numbers) of what `compare_critics` wrote."""
    numbers = json.loads((folder / "critics.json").read_text(encoding="utf-8"))
    rows = [
        {
            "critic": name,
            **{key: value for key, value in row.items() if key not in ("negative_advantage", "span")},
            "V from": row["span"][0],
            "to": row["span"][1],
            **{f"A < 0 in {stage}": share for stage, share in row["negative_advantage"].items()},
        }
        for name, row in numbers.items()
        if name != "figures"
    ]
    pictures = "".join(embed_png((folder / Path(file).name).read_bytes()) for file in numbers["figures"])
    return "Critics on held-out episodes", table(rows) + pictures, numbers


def write_report(config: ReportConfig) -> Path:
    """Write the page and, with suffix .json, its numbers. Returns the page's path."""
    run = Path(config.run)
    parts, numbers = sections(run, config.episodes)
    results = {}
    for item in config.evaluation:
        name, _, file = item.partition("=")
        if not file:
            raise ValueError(f"--evaluation {item!r}: expected NAME=FILE.json")
        results[name] = json.loads(Path(file).read_text(encoding="utf-8"))
    if results:
        parts.insert(0, evaluation_section(results))
        numbers["evaluations"] = {name: {k: v for k, v in r.items() if k != "rows"} for name, r in results.items()}
    if config.critics:
        title, content, numbers["critics"] = critics_section(Path(config.critics))
        parts.append((title, content))
    out = Path(config.out) if config.out else run / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write(out, page(f"ROVE: {run.name}", parts))
    files.write(out.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    return out


def main() -> int:
    import tyro

    try:
        print(write_report(tyro.cli(ReportConfig, description=__doc__)))
    except (ValueError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
