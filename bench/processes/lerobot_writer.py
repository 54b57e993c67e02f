# SPDX-License-Identifier: Apache-2.0
"""Writes episodes with lerobot's own writer; run by bench/export.py in an environment that has lerobot, without ROVE's
packages.

    python lerobot_writer.py EPISODES.pickle OUT

Prints the seconds that it took, imports not included. EPISODES: features, fps and [(task, state, action, JPEGs)].
"""

import io
import pickle
import sys
import time

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from PIL import Image

with open(sys.argv[1], "rb") as file:
    features, fps, episodes = pickle.load(file)  # written by bench/export.py a moment ago
begin = time.perf_counter()
dataset = LeRobotDataset.create("rove/bench", fps, features, root=sys.argv[2])
state, action, camera = features
for task, states, actions, jpegs in episodes:
    for q, a, jpeg in zip(states, actions, jpegs):
        dataset.add_frame({state: q, action: a, camera: np.asarray(Image.open(io.BytesIO(jpeg))), "task": task})
    dataset.save_episode()
print(time.perf_counter() - begin)
