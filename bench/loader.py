# SPDX-License-Identifier: Apache-2.0
"""Random training samples per second: our loader against lerobot's dataset on the same data.

    python bench/loader.py [--quick] [--lerobot-python /path/to/venv/bin/python]

A sample is the picture (3, 192, 192) as float32, the state, the next 50 actions with their mask, and the task; batches
of 64, frames drawn at random. "cached": pictures decoded once into a memory map, at full size and at the model's 96 x
96; "uncached": decoded from the video when asked for. lerobot runs in the interpreter of --lerobot-python or
ROVE_LEROBOT_PYTHON, or in this one where it can be imported; where there is none, pandas + PyAV (rows from the table, a
seek in the video per sample) is the alternative, and the last line says so.

Prints a table, then one JSON line. Target: at least 5 times lerobot.
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
from pathlib import Path

import numpy as np
import torch

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_contract.timing import CHUNK_STEPS
from rove_description import joints
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import ACTION, CAMERA, STATE, Dataset
from rove_recorder.dataset import video
from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames

SIZE, BATCH, FPS = 192, 64, 20

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
    names = joints.load().names
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    with DatasetWriter(root, FPS, (SIZE, SIZE), names) as writer:
        for k in range(episodes):
            images = np.empty((length, SIZE, SIZE, 3), dtype=np.uint8)
            noise = rng.normal(0, 3, (SIZE, SIZE, 3))
            for i in range(length):
                scene = np.stack(
                    [128 + 80 * np.sin((x + 2 * i + 9 * k) / 23), 128 + 80 * np.cos((y - i) / 17), (x + y) / 2], axis=-1
                )
                images[i] = np.clip(scene + np.roll(noise, i, axis=0), 0, 255)
            state = rng.normal(size=(length, len(names)))
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


def pandas_pyav(root: Path, dataset: Dataset):
    """What a careful user writes in an hour: the table in memory, one seek in the video per sample."""
    import pandas

    table = pandas.concat(pandas.read_parquet(file) for file in sorted((root / "data").glob("*/*.parquet")))
    states, actions = table[STATE].to_numpy(), table[ACTION].to_numpy()
    file = root / dataset.info["video_path"].format(video_key=CAMERA, chunk_index=0, file_index=0)
    last = {episode.index: episode.end - 1 for episode in dataset.episodes}
    owner = table["episode_index"].to_numpy()

    def sample(index):
        images, chunks, masks = [], [], []
        for i in index.tolist():
            (image,) = video.read_frames(file, i, 1)
            images.append(torch.from_numpy(image).permute(2, 0, 1).float().div_(255.0))
            rows = np.arange(i, i + CHUNK_STEPS)
            masks.append(rows <= last[owner[i]])
            chunks.append(np.stack(actions[np.minimum(rows, last[owner[i]])]))
        state = torch.from_numpy(np.stack(states[index]))
        return torch.stack(images), state, torch.from_numpy(np.stack(chunks)), torch.from_numpy(np.stack(masks))

    return sample


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
        rows["pandas + PyAV"] = rate(pandas_pyav(root, dataset), frames, seconds, 16)
        found = (
            with_lerobot(root, python, seconds) if python else {"error": "not installed; --lerobot-python names one"}
        )
        for workers in (0, 2):
            if "error" not in found:
                rows[f"lerobot, {workers} workers"] = found[f"workers_{workers}"]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    best = max((value for name, value in rows.items() if name.startswith("lerobot")), default=None)
    base, against = (rows["pandas + PyAV"], "pandas + PyAV") if best is None else (best, "lerobot's best")
    print(f"{'loader':<26}{'samples/s':>12}{'x ' + against:>20}")
    for name, value in rows.items():
        print(f"{name:<26}{value:>12.0f}{value / base:>20.1f}")
    print(f"filling the cache: {filled:.0f} frames/s, once")
    if "error" in found:
        print(f"lerobot: {found['error']}")
    result = {
        "bench": "loader",
        "quick": args.quick,
        "cores": os.cpu_count(),
        "frames": frames,
        "batch": BATCH,
        "against": against,
    }
    result |= {
        "cache_frames_per_s": round(filled),
        "lerobot": found if "error" in found else {k: found[k] for k in ("version", "decoder")},
    }
    result["samples_per_s"] = {name: round(value, 1) for name, value in rows.items()}
    result["cached_ratio"] = round(rows["ours, cached, 192 px"] / base, 1)
    result["uncached_ratio"] = round(rows["ours, uncached, 192 px"] / base, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
