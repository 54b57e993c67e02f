# SPDX-License-Identifier: Apache-2.0
"""The figures of the report, each a function from arrays to a matplotlib figure (`compare_critics` is Fig. 5 and 6 of
the paper).
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rove_contract.modes import Stage
from rove_contract.web import palette

COLOURS = {stage: palette.COLOURS[stage.name] for stage in Stage}  # the panel's
BAD = "#6b7280"
BESIDE = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False, "fontsize": 8}  # a legend's place


def value_curve(
    value: np.ndarray,
    advantage: np.ndarray,
    stage: np.ndarray,
    threshold: float,
    fps: float,
    pictures: np.ndarray | None = None,
) -> Figure:
    """The critic's value (T,) and the H-step advantage (T,), both in steps, over one episode; background = stage (T,).

    pictures: (K, S, S, 3) uint8 of the episode, evenly spaced, which stand over the curves at their times.
    """
    length = len(value)
    time = np.arange(length) / fps
    figure = Figure(figsize=(10, 4.9 if pictures is not None else 3.8), layout="constrained")
    if pictures is not None:
        strip, top, bottom = figure.subplots(3, 1, height_ratios=[0.95, 1.5, 1.5])
        strip.imshow(np.concatenate(list(pictures), axis=1), aspect="auto", extent=(0, length / fps, 0, 1))
        strip.set(yticks=[], xlim=(0, length / fps))
        strip.tick_params(labelbottom=False)
    else:
        top, bottom = figure.subplots(2, 1)
    for axes in (top, bottom):
        shade(axes, stage, fps)
        axes.set_xlim(0, length / fps)
        axes.spines[["top", "right"]].set_visible(False)
    top.plot(time, value, color="black", lw=1.5)
    top.set_ylabel("value / steps")
    top.tick_params(labelbottom=False)
    _legend(top, "who drives")
    middle = threshold if np.isfinite(threshold) else 0.0  # labels of some methods have none
    good = advantage > middle
    bottom.fill_between(time, advantage, middle, where=good, color=palette.COLOURS["good"], lw=0, step="mid")
    bottom.fill_between(time, advantage, middle, where=~good, color=BAD, lw=0, step="mid")
    bottom.axhline(middle, color="#b91c1c", lw=1.0, ls="--")
    # Windows that hold the penalty are hundreds of steps deep; the rest of the curve is what one wants to read.
    spread = max(5.0, float(np.percentile(np.abs(advantage - middle), 85)) * 1.5)
    bottom.set(xlabel="time without pauses / s", ylabel="advantage / steps", ylim=(middle - spread, middle + spread))
    words = ("above 0", "below 0", "0")
    if np.isfinite(threshold):
        words = ("labelled good", "labelled bad", f"threshold {threshold:.1f}")
    handles = [
        Patch(color=palette.COLOURS["good"], label=words[0]),
        Patch(color=BAD, label=words[1]),
        Line2D([], [], color="#b91c1c", ls="--", lw=1.0, label=words[2]),
    ]
    bottom.legend(handles=handles, **BESIDE)
    return figure


def _legend(axes, title: str = "") -> None:
    """Every name once, beside the curves."""
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles))
    axes.legend(unique.values(), unique.keys(), title=title or None, title_fontsize=8, **BESIDE)


LINES = ("#08519c", "#d94801", "#238b45", "#6a51a3")


def stage_name(stage: Stage) -> str:
    """In words."""
    return stage.name.lower().replace("_", " ")


def shade(axes, stage: np.ndarray, fps: float) -> None:
    """Background = stage (T,)."""
    edges = np.flatnonzero(np.diff(stage)) + 1
    for a, b in zip([0, *edges], [*edges, len(stage)]):
        kind = Stage(int(stage[a]))
        axes.axvspan(a / fps, b / fps, color=COLOURS[kind], alpha=0.35, lw=0, label=stage_name(kind))


def compare_critics(
    pictures: np.ndarray,
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    stage: np.ndarray,
    fps: float,
    title: str,
    t_r: int = -1,
    truth: np.ndarray | None = None,
) -> Figure:
    """Critics on one held-out episode (Fig. 5: with and without human videos; Fig. 6: OVE against MC).

    pictures: (K, S, S, 3) uint8, evenly spaced over the episode. curves: name -> V(s) (T,) and
    advantage (T,), both in steps. t_r: frame of the end of adaptation, -1 = none. truth: (T,) the Monte-Carlo return of
    this very episode in steps.
    """
    length = len(stage)
    time = np.arange(length) / fps
    figure = Figure(figsize=(10, 6), layout="constrained")
    strip, top, bottom = figure.subplots(3, 1, height_ratios=[0.85, 2, 1.5])
    strip.imshow(np.concatenate(list(pictures), axis=1), aspect="auto", extent=(0, length / fps, 0, 1))
    strip.set(yticks=[], xlim=(0, length / fps), title=title)
    strip.tick_params(labelbottom=False)
    for axes in (top, bottom):
        shade(axes, stage, fps)
        axes.set_xlim(0, length / fps)
        if t_r >= 0:
            axes.axvline(t_r / fps, color="black", lw=0.8, ls=":")
    if truth is not None:
        top.plot(time, truth, color="black", lw=0.9, ls=(0, (4, 2)), label="this episode's return")
    for colour, (name, (value, advantage)) in zip(LINES, curves.items()):
        top.plot(time, value, color=colour, lw=1.7, label=name)
        bottom.plot(time, advantage, color=colour, lw=1.2)
        bottom.fill_between(time, np.minimum(advantage, 0.0), 0.0, color=colour, alpha=0.15, lw=0)
    bottom.axhline(0.0, color="black", lw=0.6)
    # Windows that hold C_fail are hundreds of steps deep; the rest of the curve is what one wants to read.
    inner = np.concatenate([advantage for _, advantage in curves.values()])
    spread = max(5.0, float(np.percentile(np.abs(inner), 80)) * 2.0)
    bottom.set(xlabel="time / s", ylabel="advantage / steps", ylim=(-spread, spread))
    top.set(ylabel="V(s) / steps")
    top.tick_params(labelbottom=False)
    _legend(top)
    return figure


def advantage_histogram(advantage: np.ndarray, stage: np.ndarray, threshold: float) -> Figure:
    """Histogram of the advantages (N,) in steps, stacked by stage, with the threshold. Range: the central 98 %."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    low, high = np.percentile(advantage, [1, 99])
    bins = np.linspace(low, high if high > low else low + 1.0, 60)
    present = [kind for kind in Stage if np.any(stage == kind)]
    axes.hist(
        [np.clip(advantage[stage == kind], bins[0], bins[-1]) for kind in present],
        bins,  # type: ignore[arg-type]
        stacked=True,
        color=[COLOURS[kind] for kind in present],
        label=[stage_name(kind) for kind in present],
    )
    axes.axvline(threshold, color="#cb181d", ls="--", label=f"threshold {threshold:.2f}")
    axes.set(xlabel="advantage / steps", ylabel="frames")
    _legend(axes)
    return figure


def calibration(rows: list[dict]) -> Figure:
    """Mean V against mean return of groups of held-out frames, in steps; on the diagonal V is what came."""
    figure = Figure(figsize=(4.2, 3.2), layout="constrained")
    axes = figure.subplots()
    value, returns = ([row[key] for row in rows] for key in ("value", "return"))
    ends = [min(value + returns), 0.0]
    axes.plot(ends, ends, color="black", lw=0.6, ls="--")
    axes.plot(value, returns, "o-", color=LINES[0], ms=4, lw=1.0)
    axes.set(xlabel="V(s) / steps", ylabel="return / steps")
    return figure


PHASES = {"critic_mc": "critic (Monte Carlo)", "critic_ove": "critic (OVE)", "actor": "actor"}


def losses(history: dict[str, list[dict]]) -> Figure:
    """Loss of every phase over its steps, with a running mean of 20 steps; dots: on held-out episodes, with the rank
    correlation of V there.
    """
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for axes, (name, rows) in zip(np.atleast_1d(figure.subplots(1, max(1, len(history)))), history.items()):
        values = np.array([row["loss"] for row in rows])
        axes.plot(values, color="#c6dbef", lw=0.5)
        if len(values) >= 20:
            axes.plot(
                np.arange(19, len(values)), np.convolve(values, np.full(20, 1 / 20), "valid"), color="#08519c", lw=1.2
            )
        held_out = [
            (step, row["held_out"], row.get("rank_correlation")) for step, row in enumerate(rows) if "held_out" in row
        ]
        if held_out:
            steps, losses_, _ = zip(*held_out)
            axes.plot(steps, losses_, "o", color="#d95f0e", ms=4, label="held out")
            for step, loss, rank in held_out:
                if rank is not None:
                    axes.annotate(f"ρ {rank:.2f}", (step, loss), fontsize=6, ha="right", va="bottom")
            axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.12), frameon=False)
        axes.set(title=PHASES.get(name, name), xlabel="step", ylabel="loss", yscale="log")
    return figure


def loss_overlay(runs: dict[str, dict[str, list[dict]]]) -> Figure:
    """Running mean of the loss over 20 steps, one plot per phase with a line per run. runs: run -> phase -> rows."""
    phases = list(dict.fromkeys(phase for history in runs.values() for phase, rows in history.items() if rows))
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    lines = {}
    for axes, phase in zip(np.atleast_1d(figure.subplots(1, max(1, len(phases)))), phases):
        for colour, (name, history) in zip(LINES * len(runs), runs.items()):
            values = np.array([row["loss"] for row in history.get(phase, [])])
            window = min(20, len(values))
            if window:
                smooth = np.convolve(values, np.full(window, 1 / window), "valid")
                (lines[name],) = axes.plot(np.arange(window - 1, len(values)), smooth, color=colour, lw=1.2)
        axes.set(title=PHASES.get(phase, phase), xlabel="step", yscale="log")
    figure.legend(lines.values(), lines.keys(), fontsize=8, frameon=False, loc="outside right center")
    return figure


def success_bars(results: list[tuple[str, float, tuple[float, float]]]) -> Figure:
    """(name, success rate, 95 % interval) as bars."""
    figure = Figure(figsize=(7.5, 0.9 + 0.45 * len(results)), layout="constrained")
    axes = figure.subplots()
    rates = np.array([100 * rate for _, rate, _ in results])
    spread = np.array([[100 * (rate - low), 100 * (high - rate)] for _, rate, (low, high) in results]).T.clip(min=0)
    axes.barh(range(len(results)), rates, xerr=spread, capsize=4, color=palette.COLOURS["ROLLOUT"], height=0.6)
    for row, (rate, right) in enumerate(zip(rates, rates + spread[1])):
        axes.text(right + 2, row, f"{rate:.0f} %", va="center", fontsize=10, fontweight="bold")
    axes.set_yticks(range(len(results)), [name for name, _, _ in results], fontsize=10)
    axes.invert_yaxis()
    axes.set(xlabel="success / %, with 95 % Wilson interval", xlim=(0, 110), xticks=range(0, 101, 20))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
