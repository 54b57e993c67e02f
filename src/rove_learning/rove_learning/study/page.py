# SPDX-License-Identifier: Apache-2.0
"""docs/results/paper.md: the paper's numbers beside ours, from the results that exist; what is missing is named."""

from __future__ import annotations

from pathlib import Path

from rove_contract import files
from rove_learning.report.statistics import wilson
from rove_learning.study.protocol import BASE, PROFILES, Arm, Profile, arms
from rove_learning.study.results import Result, joined, load, paired
from rove_sim.tasks import task as tasks

INTRODUCTION = """# The paper's experiments on the simulated tasks

Made by `rove run rove_learning reproduce` (`make reproduce`) from the files in `docs/results/paper/`; protocol and
settings are in [the study](../explanation/study.md). Success in % of the same episodes for every arm, with its 95 %
Wilson interval over all episodes; *against* is the paired difference in points with its 95 % interval (Newcombe) and
the p of the exact McNemar test. The paper's numbers are of a real robot (Fig. 4, Table 1) and stand beside ours for
orientation.
"""


def write_page(page: Path, results: Path) -> None:
    """Write the page of all profiles, and a figure per profile and task beside it."""
    parts = [INTRODUCTION]
    for name, profile in PROFILES.items():
        found = load(results / name) if (results / name).is_dir() else []
        if not found:
            parts.append(f"## Profile `{name}`\n\nNot run yet.\n")
            continue
        for task in profile.tasks:
            wanted = [arm for arm in arms(profile.iterations) if not profile.arms or arm.name in profile.arms]
            parts.append(_section(name, task, wanted, found, page, profile))
    page.parent.mkdir(parents=True, exist_ok=True)
    files.write(page, "\n".join(parts))


def _section(profile: str, task: str, wanted: list[Arm], found: list[Result], page: Path, size: Profile) -> str:
    begin = "" if size.evaluate_from == "start" else f", from the stage *{size.evaluate_from.replace('_', ' ')}*"
    title = f"## Profile `{profile}`: {tasks.get(task).instruction}{begin}\n"
    rows, missing = [], []
    bars: list[tuple[str, float, tuple[float, float]]] = []
    for arm in wanted:
        success = joined(found, task, arm.name)
        have = [r for r in found if (r.task, r.arm) == (task, arm.name)]
        missing += [f"{arm.title} (training seed {s})" for s in size.seeds if s not in {r.seed for r in have}]
        if not success:
            continue
        low, high = wilson(sum(success), len(success))
        rate = sum(success) / len(success)
        bars.append((arm.title, rate, (low, high)))
        by_seed = ", ".join(f"{100 * sum(r.success) / len(r.success):.0f}" for r in sorted(have, key=lambda r: r.seed))
        paper = f"{arm.paper[task]:.1f}" if task in arm.paper else "–"
        against = [_against(found, task, other, arm.name) for other in (BASE, "hg_dagger")]
        rows.append(
            f"| {arm.title} | {100 * rate:.1f} ({100 * low:.0f}–{100 * high:.0f}) | {by_seed} | {len(success)} | "
            f"{against[0]} | {against[1]} | {paper} |"
        )
    if not rows:
        return f"{title}\nNot run yet.\n"
    head = (
        "| arm | success | per training seed | episodes | against the base | against HG-DAgger | paper |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    figure = _figure(profile, task, bars, page)
    note = f"\nMissing: {'; '.join(missing)}.\n" if missing else ""
    return f"{title}\n![Success per arm]({figure})\n\n{head}" + "\n".join(rows) + f"\n{note}\n{_origin(found, task)}\n"


def _against(found: list[Result], task: str, other: str, arm: str) -> str:
    pair = paired(found, task, other, arm) if other != arm else None
    if pair is None:
        return "–"
    return f"{100 * pair.difference:+.1f} ({100 * pair.low:+.0f} to {100 * pair.high:+.0f}), p {pair.p:.2g}"


def _figure(profile: str, task: str, bars, page: Path) -> str:
    """Fig. 4: bars with intervals. Returns the picture's name relative to the page."""
    from rove_learning.report.figures import success_bars

    folder = page.parent / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"success-{profile}-{task}.png"
    success_bars(bars).savefig(file, dpi=100)
    return f"paper/{file.name}"


def _origin(found: list[Result], task: str) -> str:
    of_task = [r.content for r in found if r.task == task]
    commits = ", ".join(sorted({c["commit"] for c in of_task if c.get("commit")}))
    machines = "; ".join(sorted({c["machine"] for c in of_task}))
    return f"Commits {commits}. Computed on {machines}."
