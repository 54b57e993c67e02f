# SPDX-License-Identifier: Apache-2.0
"""Statistics of dataset features, per episode and joined over episodes, in the layout that LeRobot v3.0 stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
IMAGE_SAMPLES = 100  # pictures per episode that enter its statistics; neighbours at 20 Hz are nearly equal
IMAGE_STRIDE = 4  # every fourth pixel each way: the mean of 2300 pixels of a 192 x 192 picture is exact to < 1 %

Stats = dict[str, np.ndarray]


def column_stats(values: np.ndarray) -> Stats:
    """values (T, D) or (T,) -> min, max, mean, std and quantiles, each (D,) or (1,), and count (1,); float64."""
    values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    stats = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {**stats, **dict(zip(QUANTILES, quantiles))}


def sampled(frames: int) -> list[int]:
    """Which of an episode's pictures enter its statistics."""
    return np.unique(np.linspace(0, max(frames - 1, 0), min(frames, IMAGE_SAMPLES)).round().astype(int)).tolist()


def depth_stats(pictures: Sequence[np.ndarray]) -> Stats:
    """Statistics of depth pictures (H, W) uint16, shaped (1, 1, 1), in mm as LeRobot has them of depth in `depth_unit`
    mm; count (1,) = number of pictures.
    """
    pixels = np.concatenate([picture[::IMAGE_STRIDE, ::IMAGE_STRIDE].reshape(-1) for picture in pictures])
    shaped = {name: value.reshape(1, 1, 1) for name, value in column_stats(pixels).items() if name != "count"}
    return {**shaped, "count": np.array([len(pictures)])}


class ImageStats:
    """Collects picture statistics per channel, scaled to [0, 1], while the pictures pass by."""

    def __init__(self, frames: int):
        self._chosen = set(sampled(frames))
        self._samples: list[np.ndarray] = []

    def watch(self, frames: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
        """Hands on each (H, W, 3) uint8 frame and keeps pixels of some."""
        for i, frame in enumerate(frames):
            if i in self._chosen:
                self._samples.append(frame[::IMAGE_STRIDE, ::IMAGE_STRIDE].reshape(-1, 3))
            yield frame

    def result(self) -> Stats:
        """Statistics shaped (3, 1, 1), count (1,) = number of pictures."""
        stats = column_stats(np.concatenate(self._samples) / 255.0)
        shaped = {name: value.reshape(3, 1, 1) for name, value in stats.items() if name != "count"}
        return {**shaped, "count": np.array([len(self._samples)])}


def joined(parts: list[Stats]) -> Stats:
    """Statistics of several episodes as one. Mean and standard deviation are exact (parallel variance); quantiles are
    the weighted mean of the episodes' quantiles, as LeRobot joins them."""
    counts = np.array([int(part["count"][0]) for part in parts], dtype=np.float64)
    weights = counts / counts.sum()

    def weighted(values):
        return np.tensordot(weights, np.stack(values), axes=1)

    mean = weighted([part["mean"] for part in parts])
    variance = weighted([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    result = {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
    shared = [name for name in QUANTILES if all(name in part for part in parts)]
    return {**result, **{name: weighted([part[name] for part in parts]) for name in shared}}
