# SPDX-License-Identifier: Apache-2.0
"""Writes episodes with lerobot's own writer; run by bench/export.py in an environment that has lerobot, without ROVE's
packages.

    python lerobot_writer.py EPISODES.pickle OUT

Prints the seconds that it took, imports not included. EPISODES: features, fps and [(task, state, action, JPEGs)].
"""

import pickle
import sys
import time

import cv2
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

with open(sys.argv[1], "rb") as file:
    features, fps, episodes = pickle.load(file)  # written by bench/export.py a moment ago
begin = time.perf_counter()
dataset = LeRobotDataset.create("rove/bench", fps, features, root=sys.argv[2])
state, action, camera = features
for task, states, actions, jpegs in episodes:
    for q, a, jpeg in zip(states, actions, jpegs):
        picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        dataset.add_frame({state: q, action: a, camera: picture, "task": task})
    dataset.save_episode()
print(time.perf_counter() - begin)
