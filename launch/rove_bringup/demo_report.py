# SPDX-License-Identifier: Apache-2.0
"""The demo's report: report.json with the figures as they are, report.html for people."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rove_bringup.bag_audit import BagAudit, audit
from rove_contract import files
from rove_contract.modes import Mode, Stage
from rove_learning.report import run_report
from rove_learning.report.figures import COLOURS
from rove_learning.report.page import embed, key_figures, page, paragraph, table, warning
from rove_learning.report.statistics import compare_paired, intervention_fraction

MODE_COLOURS = {
    Mode.ROLLOUT.name: COLOURS[Stage.ROLLOUT],
    Mode.PAUSED.name: "#9ca3af",
    Mode.ADAPTATION.name: COLOURS[Stage.ADAPTATION],
    Mode.RECOVERY.name: COLOURS[Stage.RECOVERY],
    Mode.DEMONSTRATION.name: COLOURS[Stage.DEMONSTRATION],
}
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
    figure = Figure(figsize=(9, 0.9 + 0.42 * len(bags)), layout="constrained")
    axes = figure.subplots()
    for row, bag in enumerate(bags):
        ends = [begin for _, begin in bag.timeline[1:]] + [bag.duration_s]
        for (mode, begin), end in zip(bag.timeline, ends):
            if mode in MODE_COLOURS:
                axes.barh(row, end - begin, left=begin, color=MODE_COLOURS[mode], edgecolor="white")
    axes.set_yticks(range(len(bags)), [bag.path.name for bag in bags], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=colour) for colour in MODE_COLOURS.values()]
    names = [mode.lower() for mode in MODE_COLOURS]
    figure.legend(handles, names, ncols=5, fontsize=8, frameon=False, loc="outside upper center")
    return figure


def _verdict(before: dict, after: dict) -> str:
    """The change in words, tested on the pairs of episodes with the same seed."""
    pairs = compare_paired(*([row["success"] for row in result["rows"]] for result in (before, after)))
    low, high = 100 * pairs.low, 100 * pairs.high
    caution = "" if low > 0 or high < 0 else " The interval holds zero: this many episodes do not prove a difference."
    return (
        f"Change after one iteration: {100 * pairs.difference:+.0f} points (95 % interval {low:+.0f} to {high:+.0f}), "
        f"on the same {pairs.episodes} seeds: {pairs.won} won, {pairs.lost} lost, p = {pairs.p:.2g} (exact McNemar "
        f"test).{caution} Bars show 95 % Wilson intervals."
    )


def write(out: Path, *, config: dict, times: dict[str, float], wall_s: float) -> Path:
    """Write report.json and report.html into `out`; returns the path of the page.

    Reads out/bags, out/evaluation_before.json, out/evaluation_after.json and the training run in out/policy.
    """
    bags = [audit(path) for path in sorted((out / "bags").iterdir()) if (path / "metadata.yaml").exists()]
    before, after = (json.loads((out / f"evaluation_{name}.json").read_text()) for name in ("before", "after"))
    dropped = sum(dropped_messages(bag.path) for bag in bags)
    worst = max(bags, key=lambda bag: bag.velocity_ratio, default=None)
    report = {
        "success_before": before["success_rate"],
        "success_after": after["success_rate"],
        "evaluation_episodes": before["episodes"],
        "interval_before": before["wilson95"],
        "interval_after": after["wilson95"],
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
    big = {
        "success before": f"{before['success_rate']:.0%}",
        "success after": f"{after['success_rate']:.0%}",
        "episodes": len(bags),
        "interventions": report["interventions"],
        "time under human control": f"{report['intervention_fraction']:.0%}",
        "messages dropped": dropped,
        "minutes": f"{wall_s / 60:.1f}",
    }
    rows = [
        {
            "episode": bag.path.name,
            "outcome": bag.episode.outcome.name.lower() if bag.episode else "?",
            "seconds": f"{bag.duration_s:.1f}",
            **{
                mode.lower(): f"{time_in_modes(bag).get(mode, 0.0):.1f}"
                for mode in ("ROLLOUT", "PAUSED", "ADAPTATION", "RECOVERY")
            },
            "messages": sum(bag.messages.values()),
            "peak velocity / limit": f"{bag.velocity_ratio:.3f}",
        }
        for bag in bags
    ]
    success_title, success = run_report.evaluation_section({"base policy": before, "after one iteration": after})
    sections = [
        (success_title, success + paragraph(_verdict(before, after))),
        ("Deployment session", embed(timeline_plot(bags)) + table(rows)),
        *((f"Learning: {title}", content) for title, content in run_report.sections(out / "policy")[0]),
        ("Time", table([{"stage": name, "seconds": f"{seconds:.0f}"} for name, seconds in times.items()])),
    ]
    head = paragraph("One iteration of the loop on the simulated robot: deploy, take over, record, learn, redeploy.")
    path = out / "report.html"
    files.write(path, page("ROVE demo", sections, head + key_figures(big) + "".join(map(warning, warnings))))
    return path
