# SPDX-License-Identifier: Apache-2.0
"""What a run tells an experiment tracker, through accelerate's trackers: tensorboard and trackio on this machine, or
wandb. None by default.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

EVERY = 10  # steps between two points of a curve
PACKAGES = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


def check(names: Sequence[str]) -> None:
    """Raises ValueError naming the package to install for a tracker."""
    for name in names:
        if name not in PACKAGES:
            raise ValueError(f"--track {name}: known trackers are {', '.join(PACKAGES)}")
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise ValueError(f"--track {name} needs a package: pip install {PACKAGES[name]}")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"critic.tau": 0.7}; lists as text."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            plain = value is None or isinstance(value, (bool, int, float, str))
            flat[prefix + key] = value if plain else str(value)
    return flat


class Tracking:
    """Curves of a run in the trackers `names`; without any it does nothing. Of several processes only the main one may
    use it.

    run: name of the run. folder: where local trackers write. config: the configuration in force.
    """

    def __init__(self, names: Sequence[str], run: str, folder: Path, config: Mapping[str, Any]):
        check(names)
        self._names, self._run, self._folder, self._config = tuple(names), run, folder, config
        self._trackers: list[Any] | None = None
        self._phase, self._base, self._last = "", 0, -1

    def follow(self, phase: str, step: int, row: Mapping[str, float], lr: float) -> None:
        """A step of a phase: its metrics, learning rate, speed, and memory on a GPU."""
        if not self._names:
            return
        if phase != self._phase:  # trackers want one count that never goes back
            self._phase, self._base = phase, self._last + 1 - step
        self._last = self._base + step
        if step % EVERY:
            return
        values = {f"{phase}/{key}": value for key, value in row.items() if key not in ("seconds", "waited")}
        steps_per_s = 1.0 / max(row["seconds"], 1e-9)
        values |= {f"{phase}/learning_rate": lr, f"{phase}/steps_per_s": steps_per_s}
        values[f"{phase}/samples_per_s"] = steps_per_s * self._samples(phase)
        if torch.cuda.is_available():
            values[f"{phase}/gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        self._log(values)

    def _samples(self, phase: str) -> int:
        """Of a step: the global batch."""
        part = self._config["actor" if phase == "actor" else "critic"]
        spread = torch.distributed.is_available() and torch.distributed.is_initialized()
        return part["batch"] * part["accumulate"] * (torch.distributed.get_world_size() if spread else 1)

    def note(self, name: str, values: Mapping[str, Any]) -> None:
        """Numbers that a step of the iteration ends with, e.g. the shares of labels."""
        if self._names:
            self._log({f"{name}/{key}": value for key, value in flatten(values).items() if _is_number(value)})

    def close(self) -> None:
        """Write what is pending."""
        for tracker in self._trackers or ():
            tracker.finish()
        self._trackers = None

    def _log(self, values: dict[str, float]) -> None:
        finite = {key: float(value) for key, value in values.items() if _is_number(value)}
        for tracker in self._open():
            tracker.log(finite, step=max(self._last, 0))

    def _open(self) -> list[Any]:
        if self._trackers is None:
            from accelerate.tracking import LOGGER_TYPE_TO_CLASS

            self._trackers = []
            for name in self._names:
                kind = LOGGER_TYPE_TO_CLASS[name]
                place = {"logging_dir": str(self._folder)} if kind.requires_logging_directory else {}
                tracker = kind(self._run, **place)
                if hasattr(tracker, "start"):
                    tracker.start()
                tracker.store_init_configuration(flatten(self._config))
                self._trackers.append(tracker)
        return self._trackers


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and math.isfinite(value)
