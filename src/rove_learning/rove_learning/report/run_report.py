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
from rove_learning.report import diagnostics, figures, words
from rove_learning.report.episode_pictures import Pictures
from rove_learning.report.page import Section, embed, embed_png, page, paragraph, table, warning
from rove_learning.report.words import as_lines, in_words

ALIKE = 6  # episodes of one kind and outcome that become one line
BLOCKS = "▁▂▃▄▅▆▇█"


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


@dataclass(frozen=True)
class Parts:
    """A run on a page. sections: what a visitor reads; details: what a click opens; numbers: of all of it."""

    sections: list[Section]
    details: list[Section]
    numbers: dict


def read_labels(run: Path) -> dict[str, np.ndarray]:
    """The arrays of labels.npz: per frame of D^actor, and per episode `episode_id` and `kind`."""
    with np.load(run / "labels.npz") as file:
        return dict(file)


def value_section(run: Path, labels: dict[str, np.ndarray], number: int, pictures: Pictures) -> Section:
    """(title, HTML) of the critic's value over one episode, with its pictures along the axis where the data is here."""
    chosen = labels["episode"] == number
    episode_id = str(labels["episode_id"][number])
    outcome = Outcome(int(labels["outcome"][chosen][0])).name.lower()
    curve = figures.value_curve(
        labels["value"][chosen] * labels["scale"],
        labels["advantage"][chosen],
        labels["stage"][chosen],
        float(labels["threshold"]),
        POLICY_HZ,
        pictures.of(episode_id),
    )
    words = f"Value and advantage over {episode_id}, which ended in {outcome}."
    return f"What the critic thinks of {episode_id} ({outcome})", embed(curve, words)


def sections(run: Path, episodes: int = 3) -> Parts:
    """What a page says about a run; value curves of so many episodes. Raises ValueError when the folder holds no
    finished run.
    """
    missing = [name for name in ("train.json", "labels.npz", "history.json") if not (run / name).is_file()]
    if missing:
        raise ValueError(f"{run} has no {', '.join(missing)}: not a folder that `train` finished")
    summary = json.loads((run / "train.json").read_text(encoding="utf-8"))
    history = json.loads((run / "history.json").read_text(encoding="utf-8"))
    labels = read_labels(run)
    parts: list[Section] = []
    details: list[Section] = []
    threshold = float(labels["threshold"])
    if np.isfinite(labels["value"]).all():
        pictures = Pictures(run)
        parts += [value_section(run, labels, number, pictures) for number in _most_telling(labels, episodes)]
        histogram = figures.advantage_histogram(labels["advantage"], labels["stage"], threshold)
        details.append(("Advantages and threshold", embed(histogram, "Histogram of the advantages by stage.")))
    by_stage, by_episode = stage_rows(labels), episode_rows(labels)
    behaviour, recovery = diagnostics.behaviour_rows(labels), diagnostics.recovery_row(labels)
    details.append(("Which moments were labelled good", table(in_words(by_stage)) + table(in_words(behaviour))))
    details.append(("Length of recoveries", _recoveries(recovery)))
    scores = diagnostics.held_out_scores(labels)
    if scores is not None:
        calibration = diagnostics.calibration(labels)
        plot = embed(figures.calibration(calibration), "Mean value against mean return of groups of frames.")
        details.append(("Critic on held-out episodes", table(as_lines(scores)) + plot))
    effect = {name: summary[name] for name in ("condition_effect_rad", "sampling_noise_rad") if name in summary}
    if effect:
        details.append(("What the text condition moves", table(as_lines(effect))))
    details.append(("Losses", embed(figures.losses(history), "Loss of every phase over its steps.")))
    details.append(("Episodes", episodes_table(by_episode)))
    facts = {key: value for key, value in summary.items() if not isinstance(value, dict) and key not in effect}
    details.append(("Run", table(as_lines(facts))))
    numbers = {"train": summary, "stages": by_stage, "behaviour": behaviour, "recovery": recovery}
    return Parts(parts, details, numbers | {"held_out": scores, "episode_table": by_episode})


def episodes_table(rows: list[dict]) -> str:
    """HTML: many episodes that differ in nothing but their length (one kind and outcome, nobody intervened) are one
    line with the distribution of their lengths; the others have one line each.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        alike = (row["kind"], row["outcome"]) if row["intervention"] == 0 else (row["episode"],)
        groups.setdefault(alike, []).append(row)
    lines, single = [], []
    for group in groups.values():
        if len(group) < ALIKE:
            single += group
            continue
        seconds = np.array([row["seconds"] for row in group])
        advantages = [row["mean_advantage"] for row in group if row["mean_advantage"] is not None]
        lines.append(
            {
                "episodes": f"{len(group)} {words.text('stage', group[0]['kind'])}s, all {group[0]['outcome']}",
                "length / s": f"{seconds.min():.1f} to {seconds.max():.1f}, median {np.median(seconds):.1f}",
                "from short to long": bars(np.histogram(seconds, 12)[0]),
                "mean advantage / steps": f"{np.mean(advantages):.3g}" if advantages else "–",
                "labelled positive": f"{100 * np.mean([row['positive'] for row in group]):.0f} %",
            }
        )
    return (table(lines) if lines else "") + (table(in_words(single)) if single else "")


def bars(counts: np.ndarray) -> str:
    """A histogram in a word: a character per bin, the higher the more."""
    top = max(1, int(counts.max()))
    return "".join(" " if n == 0 else BLOCKS[int(np.ceil(n / top * len(BLOCKS))) - 1] for n in counts)


def _recoveries(row: dict) -> str:
    figures_ = {key: value for key, value in row.items() if key != "warning"}
    return (warning(row["warning"]) if row["warning"] else "") + table(as_lines(figures_))


def success_chart(results: dict[str, dict]) -> str:
    """HTML: bars of the success rates; results: name -> what `evaluate` returned."""
    chart = figures.success_bars([(name, r["success_rate"], tuple(r["wilson95"])) for name, r in results.items()])
    return embed(chart, "Success rates with their 95 % intervals.")


def success_tables(results: dict[str, dict]) -> str:
    """HTML: the same in numbers, and how far the episodes got."""
    rows: list[dict] = []
    for name, r in results.items():
        row = {
            "policy": name,
            "beta": r.get("guidance"),
            "episodes": r["episodes"],
            "success": float(r["success_rate"]),
        }
        low, high = (100 * end for end in r["wilson95"])
        rows.append(row | {"interval": f"{low:.0f} to {high:.0f} %"})
    if all(row["beta"] is None for row in rows):  # the checkpoint's own
        rows = [{key: value for key, value in row.items() if key != "beta"} for row in rows]
    reached = [{"policy": name, **_in_per_cent(r["milestones"])} for name, r in results.items() if r.get("milestones")]
    note = paragraph("Share of the episodes that got as far as:", "note") + table(reached) if reached else ""
    return table(in_words(rows)) + note


def evaluation_section(results: dict[str, dict]) -> Section:
    """(title, HTML) of success rates; results: name -> what `evaluate` returned."""
    return "Success in the simulator, same seeds", success_chart(results) + success_tables(results)


def _in_per_cent(shares: dict[str, float]) -> dict[str, str]:
    return {name: f"{100 * share:.0f} %" for name, share in shares.items()}


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
    found = sections(run, config.episodes)
    parts, numbers = found.sections, found.numbers
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
    facts = numbers["train"]
    head = paragraph(
        f"Trained on {facts['episodes']} episodes with {facts['frames']} frames by the method {facts['method']}; "
        f"{100 * facts['positive']:.0f} % of the frames are labelled positive.",
        "lead",
    )
    files.write(out, page(f"ROVE: {run.name}", parts, head, found.details))
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
