# SPDX-License-Identifier: Apache-2.0
"""Random training samples per second, beside the strongest alternatives on the same data.

    python bench/loader.py [--quick] [--lerobot-python /path/to/venv/bin/python]

A sample is the picture (3, 192, 192) as float32, the state, the next 50 actions with their mask, and the task; batches
of 64, frames drawn at random. "cached": pictures decoded once into a memory map, at full size and at the model's 96 x
96; "uncached": decoded from the video when asked for. Decoded is compared with decoded: a NumPy memory map of the same
pictures, read in the same process. Video is compared with video: pandas + PyAV (one seek per sample, as many threads as
ours), and lerobot in the interpreter of --lerobot-python or ROVE_LEROBOT_PYTHON, or in this one where it can be
imported. Each ratio is to the fastest alternative of its kind, whose name is printed.

Prints a table, then one JSON line. Target: at least 5 times the fastest alternative that decodes the video.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_contract.timing import CHUNK_STEPS
from rove_description import robot
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import ACTION, STATE, Dataset
from rove_recorder.dataset import video
from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames

SIZE, BATCH, FPS = 192, 64, 20
MAP = "NumPy memory map of decoded pictures"

LEROBOT = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import lerobot, torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, fps = sys.argv[1], float(sys.argv[2])
steps, batch, seconds = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
torch.manual_seed(0)
dataset = LeRobotDataset("rove/bench", root=root, delta_timestamps={"action": [i / fps for i in range(steps)]})
result = {"version": lerobot.__version__, "decoder": dataset.video_backend}
for workers in (2, 0):  # 2 first: its forked workers would share the open video file of this process
    loader = torch.utils.data.DataLoader(dataset, batch, shuffle=True, num_workers=workers, drop_last=True)
    feed = iter(loader)
    next(feed)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        sample = next(feed, None)
        if sample is None:
            feed = iter(loader)
            continue
        count += batch
    result[f"workers_{workers}"] = count / (time.perf_counter() - begin)
    del feed
print(json.dumps(result))
"""


def make_dataset(root: Path, episodes: int, length: int) -> None:
    """A smooth scene that moves, with sensor noise."""
    rng = np.random.default_rng(0)
    card = robot.load().card
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    with DatasetWriter(root, card, FPS, (SIZE, SIZE)) as writer:
        for k in range(episodes):
            images = np.empty((length, SIZE, SIZE, 3), dtype=np.uint8)
            noise = rng.normal(0, 3, (SIZE, SIZE, 3))
            for i in range(length):
                scene = np.stack(
                    [128 + 80 * np.sin((x + 2 * i + 9 * k) / 23), 128 + 80 * np.cos((y - i) / 17), (x + y) / 2], axis=-1
                )
                images[i] = np.clip(scene + np.roll(noise, i, axis=0), 0, 255)
            state = rng.normal(size=(length, len(card.joints)))
            labels = (np.full(length, value) for value in (Stage.ROLLOUT, Source.POLICY, Mode.ROLLOUT))
            writer.add_episode(
                EpisodeFrames(
                    state,
                    state,
                    images,
                    *labels,
                    task="erase the whiteboard",
                    outcome=Outcome.SUCCESS,
                    episode_id=f"e{k}",
                )
            )


def rate(sample, frames: int, seconds: float, batch: int = BATCH) -> float:
    """Samples per second of sample(index (B,))."""
    rng = np.random.default_rng(0)
    sample(rng.integers(0, frames, batch))
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        sample(rng.integers(0, frames, batch))
        count += batch
    return count / (time.perf_counter() - begin)


def ours(buffer: Buffer):
    def sample(index):
        images = torch.from_numpy(buffer.images(index)).permute(0, 3, 1, 2).float().div_(255.0)
        actions, valid = buffer.chunks(index, CHUNK_STEPS)
        return (
            images,
            torch.from_numpy(buffer.state[index]),
            torch.from_numpy(actions),
            torch.from_numpy(valid),
            buffer.texts(index),
        )

    return sample


def by_hand(root: Path, dataset: Dataset, pictures):
    """What a careful user writes in an hour: the table in memory, chunks by fancy indexing. pictures: (index (B,)) ->
    (B, H, W, 3) uint8.
    """
    import pandas

    table = pandas.concat(pandas.read_parquet(file) for file in sorted((root / "data").glob("*/*.parquet")))
    states, actions = (torch.from_numpy(np.stack(table[key].to_numpy())) for key in (STATE, ACTION))
    last = np.array([episode.end - 1 for episode in dataset.episodes])[table["episode_index"].to_numpy()]

    def sample(index):
        rows = index[:, None] + np.arange(CHUNK_STEPS)
        end = last[index][:, None]
        images = torch.from_numpy(pictures(index)).permute(0, 3, 1, 2).float().div_(255.0)
        return images, states[index], actions[np.minimum(rows, end)], torch.from_numpy(rows <= end)

    return sample


def seeks(root: Path, dataset: Dataset):
    """Pictures by one seek in the video per sample, in as many threads as there are cores."""
    file = dataset.episodes[0].video.path
    pool = ThreadPoolExecutor(os.cpu_count())

    def one(i):
        (image,) = video.read_frames(file, i, 1)
        return image

    return lambda index: np.stack(list(pool.map(one, index.tolist())))


def memory_map(folder: Path, dataset: Dataset):
    """Pictures that were decoded once into a NumPy file."""
    out = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, (len(dataset), SIZE, SIZE, 3))
    for row, frame in enumerate(video.read_frames(dataset.episodes[0].video.path)):
        out[row] = frame
    out.flush()
    mapped = np.load(folder / "pictures.npy", mmap_mode="r")
    return lambda index: mapped[index]


def with_lerobot(root: Path, python: str, seconds: float) -> dict:
    """Runs in an interpreter of its own, as torch's data loader workers want it. {} with the reason when that fails."""
    arguments = [python, "-c", LEROBOT, str(root), str(FPS), str(CHUNK_STEPS), str(BATCH), str(seconds)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than 30 s")
    parser.add_argument(
        "--lerobot-python",
        default=os.environ.get("ROVE_LEROBOT_PYTHON", ""),
        help="interpreter that can import lerobot",
    )
    args = parser.parse_args()
    seconds = 1.0 if args.quick else 8.0
    python = args.lerobot_python or (sys.executable if importlib.util.find_spec("lerobot") else "")
    scratch = Path(tempfile.mkdtemp(prefix="rove_bench_"))
    try:
        root = scratch / "data"
        make_dataset(root, *((3, 150) if args.quick else (20, 400)))
        dataset = Dataset(root)
        frames, rows = len(dataset), {}
        begin = time.perf_counter()
        full = Buffer([dataset], SIZE, progress=False)
        filled = frames / (time.perf_counter() - begin)
        rows["ours, cached, 192 px"] = rate(ours(full), frames, seconds)
        rows["ours, cached, 96 px"] = rate(ours(Buffer([dataset], 96, progress=False)), frames, seconds)
        rows["ours, uncached, 192 px"] = rate(
            ours(Buffer([dataset], SIZE, progress=False, cache=False)), frames, seconds
        )
        rows[MAP] = rate(by_hand(root, dataset, memory_map(scratch, dataset)), frames, seconds)
        rows["pandas + PyAV"] = rate(by_hand(root, dataset, seeks(root, dataset)), frames, seconds)
        found = (
            with_lerobot(root, python, seconds) if python else {"error": "not installed; --lerobot-python names one"}
        )
        for workers in (0, 2):
            if "error" not in found:
                rows[f"lerobot, {workers} workers"] = found[f"workers_{workers}"]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    decoding = [name for name in rows if name.startswith(("lerobot", "pandas"))]
    strongest = max(decoding, key=lambda name: rows[name])
    print(f"{'loader':<40}{'samples/s':>12}   beside the fastest alternative of its kind")
    for name, value in rows.items():
        beside = {"ours, cached, 192 px": MAP, "ours, uncached, 192 px": strongest}.get(name)
        ratio = f"   {value / rows[beside]:.1f} x {beside}" if beside else ""
        print(f"{name:<40}{value:>12.0f}{ratio}")
    print(f"filling the cache: {filled:.0f} frames/s, once")
    if "error" in found:
        print(f"lerobot: {found['error']}")
    result = {
        "bench": "loader",
        "quick": args.quick,
        "cores": os.cpu_count(),
        "frames": frames,
        "batch": BATCH,
        "against": {"cached": MAP, "uncached": strongest},
    }
    result |= {
        "cache_frames_per_s": round(filled),
        "lerobot": found if "error" in found else {k: found[k] for k in ("version", "decoder")},
    }
    result["samples_per_s"] = {name: round(value, 1) for name, value in rows.items()}
    result["cached_ratio"] = round(rows["ours, cached, 192 px"] / rows[MAP], 2)
    result["uncached_ratio"] = round(rows["ours, uncached, 192 px"] / rows[strongest], 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
