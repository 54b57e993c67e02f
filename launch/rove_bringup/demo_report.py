# SPDX-License-Identifier: Apache-2.0
"""The demo's report: report.json with the figures as they are, report.html for people."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

from rove_bringup.bag_audit import BagAudit, audit
from rove_contract.modes import Mode
from rove_learning.report import report as learning_report

STAGE_COLOURS = {
    "ROLLOUT": "#2563eb",
    "PAUSED": "#9ca3af",
    "ADAPTATION": "#f59e0b",
    "RECOVERY": "#16a34a",
    "DEMONSTRATION": "#7c3aed",
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


def intervention_fraction(bags: list[BagAudit]) -> float:
    """Fraction of episode time under human control over rollout-intervention episodes, pauses removed (paper, Table
    2).
    """
    human = driven = 0.0
    for bag in bags:
        if bag.intervened:
            spent = time_in_modes(bag)
            human += sum(spent.get(mode, 0.0) for mode in HUMAN)
            driven += sum(spent.get(mode, 0.0) for mode in DRIVEN)
    return human / driven if driven else 0.0


def dropped_messages(bag: Path) -> int:
    """Messages that the recorder received but did not write into this bag, and those it knows it never received (gaps
    in the stamps).
    """
    import yaml

    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    counts = json.loads(metadata["custom_data"]["counts"]).values()
    return sum(topic["dropped"] + topic["missed"] for topic in counts)


def png(figure) -> str:
    """Matplotlib figure -> data URI."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def timeline_plot(bags: list[BagAudit]) -> str:
    """Mode timeline of each episode."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.42 * len(bags)))
    for row, bag in enumerate(bags):
        ends = [begin for _, begin in bag.timeline[1:]] + [bag.duration_s]
        for (mode, begin), end in zip(bag.timeline, ends):
            if mode in STAGE_COLOURS:
                axes.barh(row, end - begin, left=begin, color=STAGE_COLOURS[mode], edgecolor="white")
    axes.set_yticks(range(len(bags)), [bag.path.name for bag in bags], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for mode, colour in STAGE_COLOURS.items()]
    labels = [mode.lower() for mode in STAGE_COLOURS]
    axes.legend(handles, labels, ncol=5, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return png(figure)


def _table(rows: list[dict[str, object]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport"
  content="width=device-width"><title>ROVE demo</title>
<style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111827}}
h1{{margin-bottom:0}} h2{{margin-top:2.2rem}} img{{max-width:100%}}
table{{border-collapse:collapse;font-size:.9rem}} td,th{{padding:.25rem .7rem;border-bottom:1px solid
#e5e7eb;text-align:left}}
.figures{{display:flex;gap:2rem;flex-wrap:wrap;margin:1.2rem 0}}
.figure b{{display:block;font-size:1.8rem;line-height:1.1}} .figure span{{color:#4b5563;font-size:.9rem}}
.warn{{background:#fef3c7;padding:.6rem 1rem;border-radius:.4rem}}
</style>
<h1>ROVE demo</h1><p>One iteration of the loop on the simulated robot: deploy, take over, record, learn, redeploy.</p>
<div class="figures">{figures}</div>{warnings}
<h2>{success_title}</h2>{success}
<p>{verdict}</p>
<h2>Deployment session</h2><img src="{timeline}" alt="mode timeline of each episode">{episodes}
<h2>Learning</h2>{learning}
<h2>Time</h2>{times}</html>
"""


def _verdict(before: dict, after: dict) -> str:
    overlap = before["wilson95"][1] >= after["wilson95"][0] and after["wilson95"][1] >= before["wilson95"][0]
    difference = 100 * (after["success_rate"] - before["success_rate"])
    caution = (
        " The 95 % intervals overlap: one short iteration on this many episodes does not prove a difference."
        if overlap
        else ""
    )
    return f"Change after one iteration: {difference:+.0f} points.{caution} Bars show 95 % Wilson intervals."


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
        "intervention_fraction": intervention_fraction(bags),
        "dropped_messages": dropped,
        "max_velocity_over_limit": worst.velocity_ratio if worst else 0.0,
        "missing_topics": sorted({topic for bag in bags for topic in bag.missing}),
        "messages": sum(sum(bag.messages.values()) for bag in bags),
        "robot_seconds": sum(bag.duration_s for bag in bags),
        "stage_s": {name: round(seconds, 1) for name, seconds in times.items()},
        "wall_s": wall_s,
        "config": {key: str(value) if isinstance(value, Path) else value for key, value in config.items()},
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")

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
    success_title, success = learning_report.evaluation_section({"base policy": before, "after one iteration": after})
    page = PAGE.format(
        figures="".join(f'<div class="figure"><b>{value}</b><span>{key}</span></div>' for key, value in big.items()),
        warnings="".join(f'<p class="warn">{html.escape(text)}</p>' for text in warnings),
        success_title=success_title,
        success=success,
        verdict=_verdict(before, after),
        timeline=timeline_plot(bags),
        episodes=_table(rows),
        learning="".join(
            f"<h3>{html.escape(title)}</h3>{content}" for title, content in learning_report.sections(out / "policy")[0]
        ),
        times=_table([{"stage": name, "seconds": f"{seconds:.0f}"} for name, seconds in times.items()]),
    )
    path = out / "report.html"
    path.write_text(page)
    return path
