# SPDX-License-Identifier: Apache-2.0
"""Film strips for `compare`: what two policies did on seeds on which only one of them succeeded.

The simulator, the seeds and the settings are those of the evaluation, played once more with a picture every half second
from beside the robot; so a strip shows the evaluated episode, unless the machine computes differently. Then it says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rove_contract import images, timing
from rove_contract.modes import Outcome
from rove_learning.deployment.evaluate import EvaluateConfig, make_player

CAMERA = "third"  # beside the robot
EVERY = round(0.5 * timing.POLICY_HZ)  # ticks between two pictures that are drawn
COLUMNS = 8  # of a strip


@dataclass(frozen=True)
class Film:
    """An episode in pictures. success, seconds, milestone: of this replay. pictures: (s, JPEG), from its beginning."""

    seed: int
    success: bool
    seconds: float
    milestone: str
    pictures: list[tuple[float, bytes]]


def settings_of(settings: dict[str, Any]) -> EvaluateConfig | None:
    """The evaluation that can be played once more; None for trials of a robot, or where the checkpoint is not here."""
    known = {field.name for field in dataclasses.fields(EvaluateConfig)}
    if not {"checkpoint", "image_size"} <= settings.keys():
        return None
    config = EvaluateConfig(**{key: value for key, value in settings.items() if key in known})
    return config if (Path(config.checkpoint) / "config.json").is_file() else None


def choose(won: Iterable[int], lost: Iterable[int], count: int) -> list[int]:
    """At most `count` seeds, of those that were won and lost by turns as long as there are both."""
    left = [sorted(won), sorted(lost)]
    chosen: list[int] = []
    while len(chosen) < count and any(left):
        for seeds in left:
            if seeds and len(chosen) < count:
                chosen.append(seeds.pop(0))
    return chosen


def thin(shots: list[tuple[float, np.ndarray]]) -> list[tuple[float, bytes]]:
    """Pictures (s, (H, W, 3) uint8 RGB) -> at most COLUMNS of them, equally far apart, as JPEG."""
    chosen = np.unique(np.linspace(0, len(shots) - 1, COLUMNS).round().astype(int))
    return [(shots[int(i)][0], images.encode_jpeg(shots[int(i)][1], 80)) for i in chosen]


def film(config: EvaluateConfig, seeds: Iterable[int]) -> dict[int, Film]:
    """Play these seeds of an evaluation once more. Raises ValueError, OSError where the checkpoint cannot be used."""
    play, world = make_player(config)
    films = {}
    for seed in seeds:
        shots: list[tuple[float, np.ndarray]] = []

        def shoot(tick, shots=shots):
            if tick.images and tick.number % EVERY == 0:
                shots.append((tick.number / timing.POLICY_HZ, world.render(CAMERA)))

        episode = play(seed, shoot)
        seconds = episode.frames / timing.POLICY_HZ
        films[seed] = Film(seed, episode.outcome is Outcome.SUCCESS, seconds, episode.milestone, thin(shots))
    world.close()
    return films


def caption(name: str, film: Film, evaluated: bool) -> str:
    """What a strip shows, in a line. evaluated: whether the evaluation called the episode a success."""
    outcome = "success" if film.success else "failure"
    text = f"{name}: {outcome} after {film.seconds:.1f} s, reached: {film.milestone}"
    if film.success is not evaluated:
        before = "success" if evaluated else "failure"
        text += f" (it was a {before} when it was evaluated: this machine computes differently)"
    return text
