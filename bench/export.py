# SPDX-License-Identifier: Apache-2.0
"""Export: seconds of robot time per second of wall time, bags -> LeRobot v3.0 with video; against lerobot's own writer
when installed.

    python bench/export.py [--quick] [--lerobot-python /path/to/venv/bin/python]

lerobot runs in the interpreter of --lerobot-python or ROVE_LEROBOT_PYTHON, or in this one where it can be imported.
Prints a table, then one JSON line. Target: at least 20 times real time on 2 cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rove_contract import images, topics
from rove_contract.modes import Mode
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.export.episode_bag import EpisodeBag
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import T0, TABLE, cdr, kind, samples, stamp, write_bag

SIZE = 192
STORY = ((0, Mode.ROLLOUT), (8000, Mode.PAUSED), (10000, Mode.ADAPTATION), (14000, Mode.RECOVERY))
LENGTH_MS = 20_000
LEROBOT_WRITER = Path(__file__).with_name("processes") / "lerobot_writer.py"
# Name -> how the camera is stored, processes (0: one per core). lerobot's writer uses AV1 and all cores.
WAYS = {
    "video_1_process": ("video", 1),
    "video_all_cores": ("video", 0),
    "av1_all_cores": ("av1", 0),
    "jpeg_all_cores": ("image", 0),
}


def pictures(count: int) -> list[bytes]:
    """JPEGs of a smooth scene that moves, with sensor noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    result = []
    for i in range(count):
        scene = np.stack([128 + 80 * np.sin((x + 2 * i) / 23), 128 + 80 * np.cos((y - i) / 17), (x + y) / 2], axis=-1)
        result.append(images.encode_jpeg(np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8), 90))
    return result


def make_bags(root: Path, count: int) -> list[Path]:
    jpegs = pictures(60)
    bags = []
    for k in range(count):
        given, i = [], 0
        for sample in samples(f"e{k:03d}", start=T0 + k * 30 * 10**9, length_ms=LENGTH_MS, story=STORY):
            if sample.topic == topics.EGO_IMAGE.name:
                header = kind("std_msgs/msg/Header")(stamp(sample.publish_ns), "ego")
                image = kind("sensor_msgs/msg/CompressedImage")(
                    header, "jpeg", np.frombuffer(jpegs[i % len(jpegs)], np.uint8)
                )
                sample, i = sample._replace(data=cdr(image, "sensor_msgs/msg/CompressedImage")), i + 1
            given.append(sample)
        bags.append(write_bag(root / f"e{k:03d}", given))
    return bags


def timed(run) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def with_lerobot(python: str, bags: list[Path], scratch: Path) -> float:
    """Seconds that lerobot's writer takes for the same frames, with its default video codec; reading the bags does not
    count for it.
    """
    feats = layout.features(TABLE.names, 20, (SIZE, SIZE), "av1")
    mine = {
        key: {**feats[key], "shape": tuple(feats[key]["shape"])} for key in (layout.STATE, layout.ACTION, layout.CAMERA)
    }
    episodes = []
    for bag in bags:
        frames, _ = EpisodeBag(bag).frames(TABLE, 20)
        episodes.append(
            (frames.task, frames.state.astype(np.float32), frames.action.astype(np.float32), list(frames.images))
        )
    (scratch / "episodes.pickle").write_bytes(pickle.dumps((mine, 20, episodes)))
    command = [python, str(LEROBOT_WRITER), str(scratch / "episodes.pickle"), str(scratch / "lerobot")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: lerobot's writer failed in {python}:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than 30 s")
    parser.add_argument(
        "--lerobot-python",
        default=os.environ.get("ROVE_LEROBOT_PYTHON", ""),
        help="interpreter that can import lerobot",
    )
    args = parser.parse_args()
    python = args.lerobot_python or (sys.executable if importlib.util.find_spec("lerobot") else "")
    count = 6 if args.quick else 30
    root = Path(tempfile.mkdtemp(prefix="rove_bench_"))
    try:
        bags = make_bags(root / "bags", count)
        robot_s = count * (LENGTH_MS / 1000)
        result = {
            "bench": "export",
            "quick": args.quick,
            "cores": os.cpu_count(),
            "episodes": count,
            "robot_s": robot_s,
            "image": SIZE,
        }
        for name, (camera, workers) in WAYS.items():
            wall = timed(lambda: export_bags(bags, root / name, camera=camera, workers=workers, progress=False))  # noqa: B023
            result[name] = {"wall_s": round(wall, 2), "times_real_time": round(robot_s / wall, 1)}
        if python:
            wall = with_lerobot(python, bags, root)
            result["lerobot"] = {"wall_s": round(wall, 2), "times_real_time": round(robot_s / wall, 1)}
            result["times_lerobot"] = {name: round(wall / result[name]["wall_s"], 1) for name in WAYS}
        else:
            result["lerobot"] = None
    finally:
        shutil.rmtree(root, ignore_errors=True)
    ratios = result.get("times_lerobot", {})
    print(f"{'export':<18}{'wall s':>10}{'x real time':>14}{'x lerobot':>12}")
    for name in (*WAYS, "lerobot"):
        row = result[name]
        figures = (
            f"{row['wall_s']:>10}{row['times_real_time']:>14}{ratios.get(name, '-'):>12}" if row else "  not installed"
        )
        print(f"{name:<18}{figures}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
