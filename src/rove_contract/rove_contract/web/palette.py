# SPDX-License-Identifier: Apache-2.0
"""The colours of every page and of the pictures beside them; the only place where they are written down. Pure.

A mode's colour has the mode's name. The pages get the colours as custom properties (`palette.css`, made by `css`),
so `var(--PAUSED)` in a style sheet and `color("PAUSED")` in a script are the same colour.
"""

from __future__ import annotations

COLOURS = {
    "ink": "#f4f7fa",
    "dim": "#aab6c3",
    "line": "#2a343f",
    "ground": "#0b0f14",
    "card": "#141b23",
    "raised": "#1f2933",
    "dark": "#06090c",  # text on a bright colour
    "good": "#38d68a",
    "bad": "#ff6b6b",
    "warn": "#ffb020",
    "edge": "#55616e",  # border of what can be pressed
    "stop": "#d01f1f",
    "IDLE": "#8a99a8",
    "ROLLOUT": "#4da3ff",
    "PAUSED": "#ffb020",
    "ADAPTATION": "#c98bff",
    "RECOVERY": "#2dd4a7",
    "DEMONSTRATION": "#7fd1ff",
    "ESTOP": "#ff4d4d",
    "HUMAN_VIDEO": "#f2a7c3",  # episodes of people, in datasets
    "NONE": "#55616e",  # mode unknown
}


def css() -> str:
    """The colours as custom properties of the whole page."""
    return ":root { " + " ".join(f"--{name}: {value};" for name, value in COLOURS.items()) + " }\n"


def rgb(name: str) -> tuple[float, float, float]:
    """Red, green, blue of a colour, each 0 to 1."""
    value = COLOURS[name]
    red, green, blue = (int(value[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    return red, green, blue
