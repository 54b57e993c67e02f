# SPDX-License-Identifier: Apache-2.0
"""Pictures of the episodes that a run was trained on, from its datasets, for the reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.data.picture_stream import PictureStream

COUNT = 10  # pictures of an episode
SIZE = 128  # px


class Pictures:
    """run: folder that `train` finished. Datasets that are elsewhere now, or have other pictures, give none."""

    def __init__(self, run: Path):
        self._datasets: list[Dataset] = []
        config = run / "config.yaml"
        if config.is_file():
            named = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("dataset", ())
            for root in map(Path, named):
                if (root / "meta").is_dir():
                    try:
                        self._datasets.append(Dataset(root))
                    except DatasetError:
                        continue  # it has changed since; the numbers of the run stand nevertheless

    def of(self, episode_id: str) -> np.ndarray | None:
        """(COUNT, SIZE, SIZE, 3) uint8 RGB of the main camera, evenly spaced; None where there is nothing to see."""
        for dataset in self._datasets:
            for episode in dataset.episodes:
                if episode.episode_id == episode_id:
                    rows = np.linspace(episode.start, episode.end - 1, COUNT).round().astype(int)
                    try:
                        return np.asarray(PictureStream(dataset, SIZE)[rows])
                    except DatasetError:
                        return None
        return None
