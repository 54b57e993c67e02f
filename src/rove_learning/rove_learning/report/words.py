# SPDX-License-Identifier: Apache-2.0
"""What the reports call things: headings and units in words for the keys of their numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHARE = "%"

# key -> (heading, unit); the unit % shows a share as per cent
WORDS: dict[str, tuple[str, str]] = {
    "out": ("folder", ""),
    "method": ("method", ""),
    "iteration": ("iteration", ""),
    "episodes": ("episodes", ""),
    "frames": ("frames", ""),
    "kept": ("trained on", SHARE),
    "positive": ("labelled positive", SHARE),
    "threshold_steps": ("positive above an advantage of", "steps"),
    "episode": ("episode", ""),
    "kind": ("kind", ""),
    "outcome": ("outcome", ""),
    "seconds": ("length", "s"),
    "intervention": ("under human control", SHARE),
    "mean_advantage": ("mean advantage", "steps"),
    "stage": ("stage", ""),
    "behaviour": ("behaviour", ""),
    "share_of_frames": ("of all frames", SHARE),
    "share_of_positives": ("of all positive frames", SHARE),
    "recoveries": ("recoveries", ""),
    "median_recovery_steps": ("median length after t_r", "steps"),
    "horizon_steps": ("horizon H", "steps"),
    "rank_correlation": ("rank correlation of value and return, within episodes", ""),
    "rank_correlation_pooled": ("the same over all frames", ""),
    "bias": ("mean of value minus return", "steps"),
    "end_error": ("the same at the ends of successes", "steps"),
    "condition_effect_rad": ("how far “good” and “bad” in the text move an action", "rad"),
    "sampling_noise_rad": ("how far two samples lie apart", "rad"),
    "success": ("success", SHARE),
    "interval": ("95 % interval", ""),
    "beta": ("guidance β", ""),
    "policy": ("policy", ""),
}
STAGES = {"human_video": "human video"}
BEHAVIOURS = {
    "stalled": "the policy acts, the robot stands",
    "policy working": "the policy acts, the robot moves",
    "hesitating": "a person acts, the robot stands",
    "person working": "a person acts, the robot moves",
    "after t_r": "a person recovers (after t_r)",
}


def heading(key: str) -> str:
    """Of a column or line, with its unit."""
    words, unit = WORDS.get(key, (key.replace("_", " "), ""))
    return f"{words} / {unit}" if unit not in ("", SHARE) else words


def text(key: str, value: object) -> str:
    """A value as people read it: shares in per cent, three digits, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{100 * value:.0f} %" if WORDS.get(key, ("", ""))[1] == SHARE else f"{value:.3g}"
    named = {"stage": STAGES, "behaviour": BEHAVIOURS}.get(key, {})
    return named.get(str(value), str(value))


def in_words(rows: Sequence[Mapping[str, object]]) -> list[dict[str, str]]:
    """Rows for `page.table`, with headings and values in words."""
    return [{heading(key): text(key, value) for key, value in row.items()} for row in rows]


def as_lines(row: Mapping[str, object]) -> list[dict[str, str]]:
    """A single row as a table of two columns: what it is, and how much."""
    return [{"": heading(key), " ": text(key, value)} for key, value in row.items()]
