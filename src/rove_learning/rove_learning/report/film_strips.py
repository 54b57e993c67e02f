# SPDX-License-Identifier: Apache-2.0
"""Film strips for `compare`: what two policies did on seeds on which only one of them succeeded.

The simulator, the seeds and the settings are those of the evaluation, played once more with a picture every half second
from beside the robot; so a strip shows the evaluated episode, unless the machine computes differently. Then it says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rove_contract import images, timing
from rove_contract.modes import Outcome
from rove_learning.deployment.evaluate import EvaluateConfig, make_player
from rove_learning.report.page import Still

EVERY = round(0.4 * timing.POLICY_HZ)  # ticks between two pictures that are drawn
COLUMNS = 8  # of a strip
SIZE = 320  # px of a picture
CLIP_QUALITY = 60  # of a moving picture (WebP)
CLIP_FRAME_S = 0.2  # of a clip; it plays twice as fast as the robot moved
CLIP_HOLD = 8  # frames that its last picture stays


@dataclass(frozen=True)
class Film:
    """An episode in pictures. success, seconds, milestone: of this replay. shots: (s, (SIZE, SIZE, 3) uint8 RGB), from
    its beginning.
    """

    seed: int
    success: bool
    seconds: float
    milestone: str
    shots: list[tuple[float, np.ndarray]]


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


def thin(film: Film) -> list[Still]:
    """At most COLUMNS of its pictures, equally far apart."""
    shots = film.shots
    chosen = np.unique(np.linspace(0, len(shots) - 1, COLUMNS).round().astype(int))
    return [Still(shots[int(i)][0], images.encode_jpeg(shots[int(i)][1], 80)) for i in chosen]


def clip(films: Sequence[Film]) -> bytes:
    """A moving picture (WebP) of films side by side, all from their beginnings; the end of a shorter one stays."""
    length = max(len(film.shots) for film in films)
    frames = []
    for i in [*range(length), *[length - 1] * CLIP_HOLD]:
        frames.append(np.hstack([film.shots[min(i, len(film.shots) - 1)][1] for film in films]))
    return images.encode_animation(frames, CLIP_FRAME_S, CLIP_QUALITY)


def film(config: EvaluateConfig, seeds: Iterable[int]) -> dict[int, Film]:
    """Play these seeds of an evaluation once more. Raises ValueError, OSError where the checkpoint cannot be used."""
    from rove_sim.portrait import Portrait  # imports the simulator, which most pages do without

    play, world = make_player(config)
    portrait = Portrait(world, SIZE)
    films = {}
    for seed in seeds:
        shots: list[tuple[float, np.ndarray]] = []

        def shoot(tick, shots=shots):
            if tick.images and tick.number % EVERY == 0:
                shots.append((tick.number / timing.POLICY_HZ, portrait.render()))

        episode = play(seed, shoot)
        seconds = episode.frames / timing.POLICY_HZ
        films[seed] = Film(seed, episode.outcome is Outcome.SUCCESS, seconds, episode.milestone, shots)
    portrait.close()
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
