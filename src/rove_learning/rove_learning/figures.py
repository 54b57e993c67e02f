"""The figures of the report, each a function from arrays to a matplotlib figure (Fig. 5 and 6 of the paper are `value_curve`)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from rove_contract.modes import Stage

COLOURS = {
    Stage.ROLLOUT: "#9ecae1",
    Stage.ADAPTATION: "#fdae6b",
    Stage.RECOVERY: "#a1d99b",
    Stage.DEMONSTRATION: "#dadaeb",
    Stage.HUMAN_VIDEO: "#d9d9d9",
}


def value_curve(value: np.ndarray, advantage: np.ndarray, stage: np.ndarray, threshold: float, fps: float, title: str) -> Figure:
    """V(s) (T,) in [-1, 0] and the H-step advantage (T,) in steps over one episode; background = stage (T,)."""
    time = np.arange(len(value)) / fps
    figure = Figure(figsize=(8, 4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    edges = np.flatnonzero(np.diff(stage)) + 1
    for a, b in zip([0, *edges], [*edges, len(stage)]):
        kind = Stage(int(stage[a]))
        for axes in (top, bottom):
            axes.axvspan(time[a], time[b - 1] + 1 / fps, color=COLOURS[kind], alpha=0.5, lw=0, label=kind.name.lower())
    top.plot(time, value, color="black", lw=1.5)
    top.set_ylabel("V(s)")
    top.set_title(title, fontsize=10)
    handles, names = top.get_legend_handles_labels()
    unique = dict(zip(names, handles))
    top.legend(unique.values(), unique.keys(), fontsize=7, loc="lower right")
    bottom.plot(time, advantage, color="#3f007d", lw=1.0)
    bottom.axhline(threshold, color="#cb181d", lw=1.0, ls="--")
    bottom.set(xlabel="time / s", ylabel="advantage / steps")
    return figure


def advantage_histogram(advantage: np.ndarray, stage: np.ndarray, threshold: float) -> Figure:
    """Histogram of the advantages (N,) in steps, stacked by stage, with the threshold. Range: the central 98 %."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    low, high = np.percentile(advantage, [1, 99])
    bins = np.linspace(low, high if high > low else low + 1.0, 60)
    present = [kind for kind in Stage if np.any(stage == kind)]
    axes.hist([np.clip(advantage[stage == kind], bins[0], bins[-1]) for kind in present], bins, stacked=True,
              color=[COLOURS[kind] for kind in present], label=[kind.name.lower() for kind in present])  # fmt: skip
    axes.axvline(threshold, color="#cb181d", ls="--", label=f"threshold {threshold:.2f}")
    axes.set(xlabel="advantage / steps", ylabel="frames")
    axes.legend(fontsize=7)
    return figure


def losses(history: dict[str, list[dict]]) -> Figure:
    """Loss of every phase over its steps, with a running mean of 20 steps."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for axes, (name, rows) in zip(np.atleast_1d(figure.subplots(1, max(1, len(history)))), history.items()):
        values = np.array([row["loss"] for row in rows])
        axes.plot(values, color="#c6dbef", lw=0.5)
        if len(values) >= 20:
            axes.plot(np.arange(19, len(values)), np.convolve(values, np.full(20, 1 / 20), "valid"), color="#08519c", lw=1.2)
        axes.set(title=name, xlabel="step", yscale="log")
    return figure


def success_bars(results: list[tuple[str, float, tuple[float, float]]]) -> Figure:
    """(name, success rate, 95 % interval) as bars."""
    figure = Figure(figsize=(4 + 0.8 * len(results), 2.8), layout="constrained")
    axes = figure.subplots()
    rates = np.array([100 * rate for _, rate, _ in results])
    spread = np.array([[100 * (rate - low), 100 * (high - rate)] for _, rate, (low, high) in results]).T.clip(min=0)
    axes.bar(range(len(results)), rates, yerr=spread, capsize=4, color="#6baed6")
    axes.set_xticks(range(len(results)), [name for name, _, _ in results], fontsize=8)
    axes.set(ylabel="success / %", ylim=(0, 100))
    return figure
