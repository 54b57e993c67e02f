# SPDX-License-Identifier: Apache-2.0
"""D^actor and D^critic (paper, App. G): the frames of several datasets behind one index."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rove_contract.modes import Outcome, Stage
from rove_description.robot import EGO
from rove_learning.algorithm.advantage import Frames
from rove_learning.algorithm.rewards import Normaliser, penalty_frame, pretraining_c_fail, rewards
from rove_learning.algorithm.targets import monte_carlo_returns, segment_rewards
from rove_learning.config import RewardConfig
from rove_learning.data.dataset import Dataset, DatasetError, Episode
from rove_learning.data.picture_cache import pictures
from rove_learning.data.picture_stream import PictureStream


class Buffer:
    """Frames of all trainable episodes of `datasets`, one after the other; N frames, J joints.

    robot: whose frames they are. cameras: C names, whose pictures `images` gives. human_videos: True for D^critic,
    False for D^actor. cache: decode all pictures once to the disk; False: each time they are asked for. state, action:
    (N, J) float32 rad, NaN in human videos. stage, outcome: (N,). task: (N,) index into `tasks`. episode: (N,) index
    into `episodes`; first, last: (N,) first and last frame (inclusive) of the frame's episode.
    """

    def __init__(
        self,
        datasets: list[Dataset],
        size: int,
        human_videos: bool = False,
        progress: bool = True,
        cache: bool = True,
        cameras: Sequence[str] = (EGO,),
    ):
        if not datasets:
            raise DatasetError("no dataset given")
        self.cameras = tuple(cameras)
        for dataset in datasets[1:]:
            if dataset.names != datasets[0].names or dataset.fps != datasets[0].fps:
                raise DatasetError(
                    f"datasets {datasets[0].root} and {dataset.root} differ in joints or frame rate; train them apart"
                )
        self.robot, self.names, self.fps = datasets[0].robot, datasets[0].names, datasets[0].fps
        self.episodes: list[Episode] = []
        self.roots: list[str] = []
        self._maps: list[list] = []  # per dataset and camera
        columns = ("state", "action", "stage", "map", "row", "outcome", "task", "episode", "first", "last")
        parts: dict[str, list] = {key: [] for key in columns}
        self.tasks: list[str] = []
        n = 0
        for dataset in datasets:
            chosen = [e for e in dataset.episodes if e.trainable and (human_videos or e.has_robot)]
            if not chosen:
                continue
            dataset.check_cameras(self.cameras)
            self._maps.append(
                [
                    pictures(dataset, size, progress, name) if cache else PictureStream(dataset, size, camera=name)
                    for name in self.cameras
                ]
            )
            for e in chosen:
                rows = np.arange(e.start, e.end)
                if e.task not in self.tasks:
                    self.tasks.append(e.task)
                full = {
                    "outcome": e.outcome,
                    "task": self.tasks.index(e.task),
                    "episode": len(self.episodes),
                    "map": len(self._maps) - 1,
                    "first": n,
                    "last": n + len(e) - 1,
                }
                for key, value in full.items():
                    parts[key].append(np.full(len(e), value))
                parts["row"].append(rows)
                for key in ("state", "action", "stage"):
                    parts[key].append(getattr(dataset, key)[rows])
                self.episodes.append(e)
                self.roots.append(str(dataset.root))
                n += len(e)
        if n == 0:
            raise DatasetError(
                f"no episode to train on in {', '.join(str(d.root) for d in datasets)}: all are aborted, excluded "
                f"or videos"
            )
        joined = {key: np.concatenate(value) for key, value in parts.items()}
        self._map, self._row = joined.pop("map"), joined.pop("row")
        self.state, self.action, self.stage, self.outcome = (
            joined[key] for key in ("state", "action", "stage", "outcome")
        )
        self.task, self.episode, self.first, self.last = (joined[key] for key in ("task", "episode", "first", "last"))

    def __len__(self) -> int:
        return len(self.state)

    def images(self, index: np.ndarray) -> np.ndarray:
        """(B,) frames -> (B, S, S, 3) uint8, of several cameras (B, C, S, S, 3)."""
        seen = [self._of_camera(index, camera) for camera in range(len(self.cameras))]
        return seen[0] if len(seen) == 1 else np.stack(seen, axis=1)

    def _of_camera(self, index: np.ndarray, camera: int) -> np.ndarray:
        if len(self._maps) == 1:
            return np.asarray(self._maps[0][camera][self._row[index]])
        out = np.empty((len(index), *self._maps[0][camera].shape[1:]), dtype=np.uint8)
        for number, of_dataset in enumerate(self._maps):
            chosen = self._map[index] == number
            out[chosen] = of_dataset[camera][self._row[index[chosen]]]
        return out

    def texts(self, index: np.ndarray) -> list[str]:
        """(B,) frames -> their instructions."""
        return [self.tasks[i] for i in self.task[index]]

    def chunks(self, index: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """(B,) frames -> action chunks (B, steps, J) rad and valid (B, steps) bool; past the episode the last action is
        repeated.
        """
        rows = index[:, None] + np.arange(steps)
        valid = rows <= self.last[index][:, None]
        return self.action[np.minimum(rows, self.last[index][:, None])], valid

    @property
    def has_robot(self) -> np.ndarray:
        """(N,) bool: the frames that D^actor has, in the same order."""
        return np.array([e.has_robot for e in self.episodes])[self.episode]

    def label_frames(self) -> Frames:
        """What the labelling methods know of the frames."""
        stages = (Stage.DEMONSTRATION, Stage.ADAPTATION, Stage.RECOVERY)
        return Frames(*(self.stage == stage for stage in stages), self.outcome == Outcome.SUCCESS)

    def dataset_numbers(self) -> np.ndarray:
        """(N,): which dataset each frame is from."""
        roots = list(dict.fromkeys(self.roots))
        return np.array([roots.index(root) for root in self.roots])[self.episode]

    def held_out(self, share: float) -> np.ndarray:
        """(N,) bool: frames of a share of the episodes, which training leaves out. A hash of the episode's identity
        decides, so that an episode is held out in every iteration or in none. Where all would be, none is.
        """
        chosen = self._hashes() < share * 2**32
        return (chosen & ~chosen.all())[self.episode]

    def folds(self, count: int) -> np.ndarray:
        """(N,) int below `count`: the fold of the frame's episode, the same in every iteration."""
        return (self._hashes() % count)[self.episode]

    def _hashes(self) -> np.ndarray:
        """(E,) int below 2**32 of the episodes' identities."""
        names = [e.episode_id or f"{Path(root).name}/{e.index}" for e, root in zip(self.episodes, self.roots)]
        return np.array([int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) for name in names])

    def movement(self, steps: int) -> np.ndarray:
        """(N,) rad: how far the joint that moves most gets within `steps` steps; NaN in human videos."""
        ahead = np.minimum(np.arange(len(self)) + steps, self.last)
        return np.abs(self.state[ahead] - self.state).max(axis=1)

    def slices(self) -> list[slice]:
        """Rows of each episode."""
        firsts = np.unique(self.first)
        return [slice(int(a), int(self.last[a]) + 1) for a in firsts]

    def rewards(self, config: RewardConfig, pretraining: bool = False) -> np.ndarray:
        """(N,) rewards of eq. 2 in steps, not normalised. pretraining: C_fail = -(mean episode length of the task)."""
        lengths: dict[str, list[int]] = {}
        for e in self.episodes:
            lengths.setdefault(e.task, []).append(len(e))
        out = []
        for e in self.episodes:
            c_fail = pretraining_c_fail(lengths[e.task]) if pretraining else config.c_fail
            success = e.outcome == Outcome.SUCCESS
            penalty = penalty_frame(len(e), success, e.adaptation_end, e.takeover, config.penalty_at)
            out.append(rewards(len(e), success, c_fail=c_fail, penalty=penalty))
        return np.concatenate(out)

    def monte_carlo(self, r: np.ndarray, gamma: float) -> np.ndarray:
        """(N,) Monte-Carlo returns in steps of rewards r (N,)."""
        return np.concatenate([monte_carlo_returns(r[s], gamma) for s in self.slices()])

    def segments(
        self, r: np.ndarray, horizon: int, gamma: float, normaliser: Normaliser
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per frame of eq. 4: normalised reward sums (N,), next frame (N,) of this buffer, discount (N,)."""
        sums, following, discount = [], [], []
        for s in self.slices():
            a, b, c = segment_rewards(r[s], horizon, gamma)
            sums.append(normaliser.rewards(a))
            following.append(b + s.start)
            discount.append(c)
        return np.concatenate(sums), np.concatenate(following), np.concatenate(discount)
