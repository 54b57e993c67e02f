# SPDX-License-Identifier: Apache-2.0
"""The demo's report: report.json with the figures as they are, report.html for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rove_bringup import bag_film
from rove_bringup.bag_audit import BagAudit, audit
from rove_bringup.demo_loop import loop_picture
from rove_contract import files, images
from rove_contract.modes import Mode, Stage
from rove_contract.web import palette
from rove_learning.report import film_strips, run_report
from rove_learning.report.episode_pictures import Pictures
from rove_learning.report.page import (
    Section,
    commands,
    embed,
    embed_webp,
    film_strip,
    key_figures,
    page,
    paragraph,
    table,
    warning,
)
from rove_learning.report.statistics import Comparison, compare_paired, intervention_fraction
from rove_sim.tasks import task as tasks

STAGES = {  # of the demo, in words
    "collect": "demonstrations",
    "base": "base policy and pretrained critic",
    "session": "deployment session over ROS",
    "export": "bags to a dataset",
    "experience": "more deployment in-process",
    "iteration": "critic, labels, new policy",
    "before": "evaluation of the base policy",
    "after": "evaluation of the new policy",
    "total": "all of these",
}
BEFORE, AFTER = "base policy", "after one iteration"
HUMAN = {Mode.ADAPTATION.name, Mode.RECOVERY.name}
DRIVEN = HUMAN | {Mode.ROLLOUT.name}


def time_in_modes(bag: BagAudit) -> dict[str, float]:
    """Seconds in each mode of the bag's timeline."""
    spent: dict[str, float] = {}
    ends = [begin for _, begin in bag.timeline[1:]] + [bag.duration_s]
    for (mode, begin), end in zip(bag.timeline, ends):
        spent[mode] = spent.get(mode, 0.0) + end - begin
    return spent


def human_time(bag: BagAudit) -> tuple[float, float]:
    """Seconds under human control, and of the whole episode without pauses."""
    spent = time_in_modes(bag)
    human, driven = (sum(spent.get(mode, 0.0) for mode in modes) for modes in (HUMAN, DRIVEN))
    return human, driven


def dropped_messages(bag: Path) -> int:
    """Messages that the recorder received but did not write into this bag, and those it knows it never received (gaps
    in the stamps).
    """
    import yaml

    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    counts = json.loads(metadata["custom_data"]["counts"]).values()
    return sum(topic["dropped"] + topic["missed"] for topic in counts)


def timeline_plot(bags: list[BagAudit]) -> Figure:
    """Mode timeline of each episode."""
    figure = Figure(figsize=(10, 0.9 + 0.42 * len(bags)), layout="constrained")
    axes = figure.subplots()
    for row, bag in enumerate(bags):
        ends = [begin for _, begin in bag.timeline[1:]] + [bag.duration_s]
        for (mode, begin), end in zip(bag.timeline, ends):
            if mode in bag_film.WORDS:
                axes.barh(row, end - begin, left=begin, color=palette.COLOURS[mode], edgecolor="white")
    axes.set_yticks(range(len(bags)), [bag.path.name for bag in bags], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=palette.COLOURS[mode]) for mode in bag_film.WORDS]
    figure.legend(handles, bag_film.WORDS.values(), fontsize=8, frameon=False, loc="outside right center")
    return figure


def pairs_of(before: dict, after: dict) -> Comparison:
    """Both evaluations, on the episodes with the same seed."""
    return compare_paired(*([row["success"] for row in result["rows"]] for result in (before, after)))


def verdict(pairs: Comparison) -> str:
    """The change in words, as far as it is proven."""
    if pairs.low > 0:
        return "better"
    return "worse" if pairs.high < 0 else "no difference that these episodes could show"


def say(pairs: Comparison) -> str:
    """The paired test in a sentence."""
    low, high = 100 * pairs.low, 100 * pairs.high
    return (
        f"Change after one iteration: {100 * pairs.difference:+.0f} points (95 % interval {low:+.0f} to {high:+.0f}), "
        f"on the same {pairs.episodes} seeds: {pairs.won} won, {pairs.lost} lost, p = {pairs.p:.2g} (exact McNemar "
        f"test): {verdict(pairs)}."
    )


def describe_session(bag: BagAudit) -> str:
    """What a strip of an episode shows, in a sentence."""
    modes = {mode for mode, _ in bag.timeline}
    outcome = bag.episode.outcome.name.lower() if bag.episode else "no outcome"
    if Mode.RECOVERY.name in modes:
        told = "The policy drives; the supervisor pauses it; a person takes over, adapts, recovers and goes on"
    elif bag.intervened:
        told = "The policy drives; the supervisor pauses it; a person takes over"
    else:
        told = "The policy drives, and nobody has to take over"
    return f"{told}: {outcome} after {bag.duration_s:.0f} s ({bag.path.name}, seen by the robot's head)."


def session_film(bag: BagAudit | None) -> list[Section]:
    """(title, HTML) of the episode that shows the loop best."""
    stills = bag_film.film(bag) if bag is not None else []
    if bag is None or not stills:
        return []
    words = describe_session(bag)
    return [("An episode of the deployment", film_strip(stills, words) + paragraph(words))]


def policies_film(before: dict, after: dict) -> list[Section]:
    """(title, HTML) of a seed that both policies play once more: one that the better policy won, else one that it lost.
    Empty when the checkpoints cannot be played.
    """
    rows = list(zip(before["rows"], after["rows"], strict=True))
    won = [b["seed"] for b, a in rows if a["success"] and not b["success"]]
    lost = [b["seed"] for b, a in rows if b["success"] and not a["success"]]
    seeds = film_strips.choose(won, [] if won else lost, 1) or [before["rows"][0]["seed"]]
    configs = [film_strips.settings_of(result["config"]) for result in (before, after)]
    if None in configs:
        return []
    films = [film_strips.film(config, seeds)[seeds[0]] for config in configs if config is not None]
    evaluated = [next(r["success"] for r in result["rows"] if r["seed"] == seeds[0]) for result in (before, after)]
    lines = [film_strips.caption(*line) for line in zip((BEFORE, AFTER), films, evaluated, strict=True)]
    try:
        moving = embed_webp(film_strips.clip(films), f"Both policies on seed {seeds[0]}, side by side.")
    except images.ImageError as error:
        moving = paragraph(f"No moving picture: {error}.", "note")
    strips = "".join(
        paragraph(line) + film_strip(film_strips.thin(film), line) for line, film in zip(lines, films, strict=True)
    )
    kind = "won" if won else "lost" if lost else "played alike"
    note = paragraph(
        f"Left the {BEFORE}, right the policy {AFTER}, on seed {seeds[0]}: the first of the {before['episodes']} "
        f"evaluated seeds that the new policy {kind} ({len(won)} won, {len(lost)} lost).",
        "note",
    )
    return [("The same start, before and after", moving + note + strips)]


def read_interventions(labels: dict[str, np.ndarray]) -> tuple[int, int]:
    """(rollouts, how many of them a person took over) of a run's data."""
    numbers = [n for n in np.unique(labels["episode"]) if labels["kind"][n] == "rollout"]
    taken_over = np.unique(labels["episode"][labels["stage"] == Stage.ADAPTATION])
    return len(numbers), len(set(numbers) & set(taken_over.tolist()))


def write(
    out: Path, *, config: dict, times: dict[str, float], wall_s: float, steps: Sequence[tuple[str, str]] = ()
) -> Path:
    """Write report.json and report.html into `out`; returns the path of the page. steps: (what for, command line) of
    what to do next.

    Reads out/bags, out/evaluation_before.json, out/evaluation_after.json and the training run in out/policy.
    """
    bags = [audit(path) for path in sorted((out / "bags").iterdir()) if (path / "metadata.yaml").exists()]
    before, after = (json.loads((out / f"evaluation_{name}.json").read_text()) for name in ("before", "after"))
    dropped = sum(dropped_messages(bag.path) for bag in bags)
    worst = max(bags, key=lambda bag: bag.velocity_ratio, default=None)
    pairs = pairs_of(before, after)
    report = {
        "success_before": before["success_rate"],
        "success_after": after["success_rate"],
        "evaluation_episodes": before["episodes"],
        "interval_before": before["wilson95"],
        "interval_after": after["wilson95"],
        "difference": pairs.difference,
        "difference95": [pairs.low, pairs.high],
        "mcnemar_p": pairs.p,
        "episodes": len(bags),
        "interventions": sum(bag.intervened for bag in bags),
        "intervention_fraction": intervention_fraction([human_time(bag) for bag in bags]),
        "dropped_messages": dropped,
        "max_velocity_over_limit": worst.velocity_ratio if worst else 0.0,
        "missing_topics": sorted({topic for bag in bags for topic in bag.missing}),
        "messages": sum(sum(bag.messages.values()) for bag in bags),
        "robot_seconds": sum(bag.duration_s for bag in bags),
        "stage_s": {name: round(seconds, 1) for name, seconds in times.items()},
        "wall_s": wall_s,
        "config": {key: str(value) if isinstance(value, Path) else value for key, value in config.items()},
    }
    files.write(out / "report.json", json.dumps(report, indent=1) + "\n")

    warnings = []
    if dropped:
        warnings.append(f"{dropped} messages were dropped by the recorder.")
    if report["missing_topics"]:
        warnings.append(f"Bags without: {', '.join(report['missing_topics'])}.")
    if report["max_velocity_over_limit"] > 1.0 + 1e-6:
        warnings.append(f"A joint command exceeded its velocity limit: {worst.worst_joint} in {worst.path.name}.")

    labels = run_report.read_labels(out / "policy")
    rollouts, taken_over = read_interventions(labels)
    story = bag_film.most_telling(bags)
    run = run_report.sections(out / "policy", episodes=0)
    results = {BEFORE: before, AFTER: after}
    task = tasks.get(config["task"])
    loop = loop_picture(
        demonstrations=config["demonstrations"],
        before=before["success_rate"],
        rollouts=rollouts,
        taken_over=taken_over,
        positive=float(labels["positive"].mean()),
        after=after["success_rate"],
    )
    big = {
        f"points of success: {verdict(pairs)} (95 % interval {100 * pairs.low:+.0f} to {100 * pairs.high:+.0f})": (
            f"{100 * pairs.difference:+.0f}"
        ),
        "minutes for the whole loop": f"{wall_s / 60:.0f}",
    }
    head = paragraph(
        f"A simulated robot tries to {task.instruction}. Its policy is deployed, people take over before it fails, and "
        f"it learns from all of it, their imperfect takeovers included.",
        "lead",
    )
    sections: list[Section] = [
        *session_film(story),
        *policies_film(before, after),
        ("Success before and after", run_report.success_chart(results) + paragraph(say(pairs))),
    ]
    if story is not None and story.path.name in labels["episode_id"] and np.isfinite(labels["value"]).all():
        number = int(np.flatnonzero(labels["episode_id"] == story.path.name)[0])
        title, content = run_report.value_section(out / "policy", labels, number, Pictures(out / "policy"))
        sections.append((title, content + paragraph(HOW_TO_READ, "note")))
    sections.append(("What to do next", commands(steps)))
    seconds = [{"stage": STAGES.get(name, name), "seconds": f"{spent:.0f}"} for name, spent in times.items()]
    details = [
        ("Success in numbers", run_report.success_tables(results)),
        ("The session's episodes", session_details(bags, report)),
        *run.details,
        ("Time", table(seconds)),
    ]
    path = out / "report.html"
    top = loop + key_figures(big) + "".join(map(warning, warnings))
    files.write(path, page("One pass of the loop", sections, head + top, details))
    return path


HOW_TO_READ = (
    "Value: how many steps the critic expects to success, as a negative number, with penalties for what a person had "
    "to repair. Advantage: how much better the next 16 steps were than expected. Moments above the threshold are "
    "labelled good; the new policy is trained to prefer them."
)


def session_details(bags: list[BagAudit], report: dict) -> str:
    """HTML: time line and a row of figures per recorded episode."""
    modes = [mode for mode in bag_film.WORDS if any(mode in time_in_modes(bag) for bag in bags)]
    rows = [
        {
            "episode": bag.path.name,
            "outcome": bag.episode.outcome.name.lower() if bag.episode else "?",
            "seconds": f"{bag.duration_s:.1f}",
            **{bag_film.WORDS[mode]: f"{time_in_modes(bag).get(mode, 0.0):.1f}" for mode in modes},
            "messages": sum(bag.messages.values()),
            "peak velocity / limit": f"{bag.velocity_ratio:.3f}",
        }
        for bag in bags
    ]
    words = (
        f"{report['interventions']} of {report['episodes']} episodes were taken over; "
        f"{report['intervention_fraction']:.0%} of their time was under human control. "
        f"{report['dropped_messages']} messages were dropped."
    )
    return paragraph(words) + embed(timeline_plot(bags), "Who drove when in each episode.") + table(rows)
