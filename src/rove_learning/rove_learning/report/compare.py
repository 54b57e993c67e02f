# SPDX-License-Identifier: Apache-2.0
"""`compare`: two or more policies on the same seeds, or the same trials of a robot: is one better, and by how much.

    rove run rove_learning compare base=runs/base policy=runs/policy --episodes 100 --out runs/compare.html
    rove run rove_learning compare base=runs/base/evaluation.json policy=runs/policy/evaluation.json

A policy is NAME=FILE.json that `evaluate` wrote, or NAME=FOLDER of a checkpoint, which is evaluated now. Every policy
is compared with the first one, on the seeds that both played: exact McNemar test, Holm's correction where there are
several, Wilson intervals, and the difference with its interval (Newcombe). A file may also hold trials of a robot:
{"rows": [{"seed": 1, "success": true}, ...]}, with the same number for the same start. With --out a page shows all
of it, with film strips of a few seeds on which only one of two policies succeeded.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rove_contract import files
from rove_learning.deployment.evaluate import EvaluateConfig, evaluate
from rove_learning.report import figures, film_strips
from rove_learning.report.page import Section, embed, film_strip, key_figures, page, paragraph, table, warning
from rove_learning.report.statistics import compare_paired, holm, wilson

# Of an evaluation: what must be the same for a paired comparison to mean anything.
SAME = ("task", "start_stage", "max_seconds", "image_size", "latency_steps")


@dataclass(frozen=True)
class CompareConfig:
    """Policies side by side."""

    policies: tuple[str, ...]  # NAME=FILE.json or NAME=FOLDER; the first is what the others are compared with
    out: str = ""  # HTML file, with the numbers as JSON beside it; empty: print only
    task: str = EvaluateConfig.task  # of checkpoints that are evaluated now, as the following
    episodes: int = 100
    seed: int = EvaluateConfig.seed
    workers: int = EvaluateConfig.workers
    start_stage: str = EvaluateConfig.start_stage
    films: int = 4  # with --out: seeds on which two policies differ, shown as film strips; 0: none


@dataclass(frozen=True)
class Played:
    """What a policy did. outcomes: seed -> success. settings: of the evaluation, {} of trials. folder: its run, or
    None.
    """

    name: str
    outcomes: dict[int, bool]
    settings: dict[str, Any]
    folder: Path | None


def read_played(name: str, file: Path) -> Played:
    """Outcomes from a JSON file. Raises ValueError naming the file."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        rows = values["rows"]
        outcomes = {int(row["seed"]): row["success"] for row in rows}
        if not outcomes or not all(type(success) is bool for success in outcomes.values()):
            raise ValueError("success is not true or false in every row")
        if len(outcomes) != len(rows):
            raise ValueError("a seed stands there twice")
        settings = values.get("config") or {}
        folder = Path(values["checkpoint"]) if values.get("checkpoint") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file}: expected what `evaluate` writes, or {{'rows': [{{'seed': 1, 'success': true}}]}}: {error!r}"[:400]
        ) from error
    return Played(name, outcomes, settings, folder if folder is not None and folder.is_dir() else None)


def play(name: str, folder: Path, config: CompareConfig, progress: bool) -> Played:
    """Evaluate a checkpoint on the seeds of `config`."""
    settings = EvaluateConfig(
        str(folder),
        config.task,
        config.episodes,
        config.seed,
        config.workers,
        start_stage=config.start_stage,
    )
    result = evaluate(settings, progress)
    return Played(name, {row["seed"]: row["success"] for row in result["rows"]}, result["config"], folder)


def gather(config: CompareConfig, progress: bool = True) -> list[Played]:
    """What all policies did. Everything that can be refused is refused before the first episode. Raises ValueError."""
    named: dict[str, Path] = {}
    for item in config.policies:
        name, _, path = item.partition("=")
        if not path or name in named:
            raise ValueError(f"{item!r}: expected NAME=FILE.json or NAME=FOLDER, every name once")
        named[name] = Path(path)
        if not named[name].exists():
            raise ValueError(f"{name}: there is no {path}")
    if len(named) < 2:
        raise ValueError("give two policies or more, as NAME=FILE.json or NAME=FOLDER")
    read = {name: read_played(name, path) for name, path in named.items() if path.is_file()}
    return [read[name] if name in read else play(name, path, config, progress) for name, path in named.items()]


def compare_pair(before: Played, after: Played) -> dict:
    """Two policies on the seeds that both played. Raises ValueError when there are none, or they played differently."""
    for key in SAME:
        values = before.settings.get(key), after.settings.get(key)
        if before.settings and after.settings and values[0] != values[1]:
            raise ValueError(
                f"{before.name} and {after.name} were evaluated with {key} {values[0]!r} and {values[1]!r}; evaluate "
                f"both alike"
            )
    seeds = sorted(before.outcomes.keys() & after.outcomes.keys())
    if not seeds:
        raise ValueError(f"{before.name} and {after.name} have no seed in common; evaluate both with the same --seed")
    found = compare_paired(*([played.outcomes[seed] for seed in seeds] for played in (before, after)))
    return {
        "before": before.name,
        "after": after.name,
        "pairs": found.episodes,
        "left_out": len(before.outcomes.keys() ^ after.outcomes.keys()),
        "won": found.won,
        "lost": found.lost,
        "difference": found.difference,
        "difference95": [found.low, found.high],
        "p": found.p,
    }


def compare(config: CompareConfig, progress: bool = True) -> dict:
    """Rates of all policies and a comparison of each with the first. Written to `out` where given. Raises
    ValueError.
    """
    played = gather(config, progress)
    pairs = [compare_pair(played[0], other) for other in played[1:]]
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
        pair["sentence"] = say(pair)
    policies = []
    for one in played:
        successes, count = sum(one.outcomes.values()), len(one.outcomes)
        interval = [round(end, 4) for end in wilson(successes, count)]
        row = {"name": one.name, "episodes": count, "successes": successes, "success_rate": successes / count}
        policies.append(row | {"wilson95": interval})
    result = {"policies": policies, "pairs": pairs}
    if config.out:
        out = Path(config.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        films = show_differences(played, config.films)
        files.write(out, render(result, read_losses(played), films))
        files.write(out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    return result


def say(pair: dict) -> str:
    """A comparison in one sentence."""
    low, high = (100 * end for end in pair["difference95"])
    p = pair["p_holm"]
    verdict = "no difference that these episodes could show"
    if p < 0.05:
        verdict = f"{pair['after']} is {'better' if pair['difference'] > 0 else 'worse'}"
    return (
        f"{verdict}: {100 * pair['difference']:+.1f} points over {pair['before']} [{low:+.1f}, {high:+.1f}] on "
        f"{pair['pairs']} common episodes, {pair['won']} won and {pair['lost']} lost, p = {p:.2g}"
    )


def read_losses(played: list[Played]) -> dict[str, dict[str, list[dict]]]:
    """policy -> phase -> rows of its history, of those whose run folder is here."""
    found = {}
    for one in played:
        file = one.folder / "history.json" if one.folder is not None else None
        if file is not None and file.is_file():
            found[one.name] = json.loads(file.read_text(encoding="utf-8"))
    return found


def show_differences(played: list[Played], count: int) -> str:
    """HTML: both policies of each pair on at most `count` seeds on which one of them succeeded; "" where there is
    nothing to show. Only the simulator's episodes can be played once more.
    """
    parts = []
    for pair in ((played[0], other) for other in played[1:]):
        configs = [film_strips.settings_of(one.settings) for one in pair]
        before, after = (one.outcomes for one in pair)
        differ = [seed for seed in before.keys() & after.keys() if before[seed] is not after[seed]]
        seeds = film_strips.choose(
            [seed for seed in differ if after[seed]], [seed for seed in differ if before[seed]], count
        )
        if not seeds or None in configs:
            continue
        try:
            films = [film_strips.film(config, seeds) for config in configs]
        except (ValueError, OSError) as error:
            parts.append(warning(f"{pair[0].name} and {pair[1].name} cannot be filmed: {error}"))
            continue
        for seed in seeds:
            parts.append(f"<h3>Seed {seed}</h3>")
            for one, film in zip(pair, films, strict=True):
                words = film_strips.caption(one.name, film[seed], one.outcomes[seed])
                parts.append(paragraph(words) + film_strip(film_strips.thin(film[seed]), words))
    return "".join(parts)


def render(result: dict, losses: dict[str, dict[str, list[dict]]], films: str = "") -> str:
    """The page. films: HTML of the episodes in which the policies differ."""
    bars = [(row["name"], row["success_rate"], tuple(row["wilson95"])) for row in result["policies"]]
    head = key_figures({row["name"]: f"{100 * row['success_rate']:.0f} %" for row in result["policies"]})
    head += "".join(paragraph(pair["sentence"]) for pair in result["pairs"])
    for pair in result["pairs"]:
        if pair["left_out"]:
            text = (
                f"{pair['left_out']} episodes that only one of {pair['before']} and {pair['after']} played are left out"
            )
            head += warning(text)
    words = {"before": "policy", "after": "against", "pairs": "common episodes", "won": "won", "lost": "lost"}
    rows = [
        {text: pair[key] for key, text in words.items()}
        | {"difference": pair["difference"], "95 % from": pair["difference95"][0], "to": pair["difference95"][1]}
        | {"McNemar p": pair["p"], "p (Holm)": pair["p_holm"]}
        for pair in result["pairs"]
    ]
    parts: list[Section] = [("Success", embed(figures.success_bars(bars))), ("Paired comparison", table(rows))]
    if films:
        parts.append(("Where they differ", films))
    if losses:
        parts.append(("Losses", embed(figures.loss_overlay(losses))))
    return page("ROVE: " + ", ".join(row["name"] for row in result["policies"]), parts, head)


def main() -> int:
    import tyro

    try:
        config = tyro.cli(
            CompareConfig,
            description=__doc__,
            prog="rove run rove_learning compare",
            config=(tyro.conf.PositionalRequiredArgs,),
        )
        result = compare(config)
    except (ValueError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    for row in result["policies"]:
        low, high = (100 * end for end in row["wilson95"])
        rate = f"{100 * row['success_rate']:5.1f} % [{low:.1f}, {high:.1f}]"
        print(f"{row['name']:24} {rate} of {row['episodes']} episodes")
    for pair in result["pairs"]:
        print(pair["sentence"])
    if config.out:
        print(config.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
