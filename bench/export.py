"""Export: seconds of robot time per second of wall time, bags -> LeRobot v3.0 with video; against lerobot's own writer when installed.

    python bench/export.py [--quick]

Prints a table, then one JSON line. Target: at least 20 times real time on 2 cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from rove_contract import messages, topics
from rove_contract.modes import Mode
from rove_recorder import lerobot_format as layout
from rove_recorder.episode_bag import EpisodeBag
from rove_recorder.export import export_bags
from rove_recorder.synthetic import T0, TABLE, cdr, kind, samples, stamp, write_bag

SIZE = 192
STORY = ((0, Mode.ROLLOUT), (8000, Mode.PAUSED), (10000, Mode.ADAPTATION), (14000, Mode.RECOVERY))
LENGTH_MS = 20_000


def pictures(count: int) -> list[bytes]:
    """JPEGs of a smooth scene that moves, with sensor noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    result = []
    for i in range(count):
        scene = np.stack([128 + 80 * np.sin((x + 2 * i) / 23), 128 + 80 * np.cos((y - i) / 17), (x + y) / 2], axis=-1)
        result.append(messages.encode_jpeg(np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8), 90))
    return result


def make_bags(root: Path, count: int) -> list[Path]:
    jpegs = pictures(60)
    bags = []
    for k in range(count):
        given, i = [], 0
        for sample in samples(f"e{k:03d}", start=T0 + k * 30 * 10**9, length_ms=LENGTH_MS, story=STORY):
            if sample.topic == topics.EGO_IMAGE.name:
                header = kind("std_msgs/msg/Header")(stamp(sample.publish_ns), "ego")
                image = kind("sensor_msgs/msg/CompressedImage")(header, "jpeg", np.frombuffer(jpegs[i % len(jpegs)], np.uint8))
                sample, i = sample._replace(data=cdr(image, "sensor_msgs/msg/CompressedImage")), i + 1
            given.append(sample)
        bags.append(write_bag(root / f"e{k:03d}", given))
    return bags


def timed(run) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def with_lerobot(bags: list[Path], out: Path) -> float:
    """The same frames through lerobot's writer, decoding included; its default video codec."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    feats = layout.features(TABLE.names, 20, (SIZE, SIZE), "video")
    mine = {key: {**feats[key], "shape": tuple(feats[key]["shape"])} for key in (layout.STATE, layout.ACTION, layout.CAMERA)}
    begin = time.perf_counter()
    dataset = LeRobotDataset.create("rove/bench", 20, mine, root=out)
    for bag in bags:
        frames, _ = EpisodeBag(bag).frames(TABLE, 20)
        for i in range(len(frames)):
            image = messages.decode_image(type("Message", (), {"data": frames.images[i], "format": "jpeg"}))
            dataset.add_frame(
                {
                    layout.STATE: frames.state[i].astype(np.float32),
                    layout.ACTION: frames.action[i].astype(np.float32),
                    layout.CAMERA: image,
                    "task": frames.task,
                }
            )
        dataset.save_episode()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than 30 s")
    args = parser.parse_args()
    count = 6 if args.quick else 30
    root = Path(tempfile.mkdtemp(prefix="rove_bench_"))
    try:
        bags = make_bags(root / "bags", count)
        robot_s = count * (LENGTH_MS / 1000)
        result = {"bench": "export", "quick": args.quick, "cores": os.cpu_count(), "episodes": count, "robot_s": robot_s, "image": SIZE}
        for name, camera, workers in (("video_1_process", "video", 1), ("video_all_cores", "video", 0), ("jpeg_all_cores", "image", 0)):
            wall = timed(lambda: export_bags(bags, root / name, camera=camera, workers=workers, progress=False))  # noqa: B023
            result[name] = {"wall_s": round(wall, 2), "times_real_time": round(robot_s / wall, 1)}
        if importlib.util.find_spec("lerobot") is not None:
            wall = with_lerobot(bags, root / "lerobot")
            result["lerobot"] = {"wall_s": round(wall, 2), "times_real_time": round(robot_s / wall, 1)}
        else:
            result["lerobot"] = None
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{'export':<18}{'wall s':>10}{'x real time':>14}")
    for name in ("video_1_process", "video_all_cores", "jpeg_all_cores", "lerobot"):
        row = result[name]
        print(f"{name:<18}{row['wall_s']:>10}{row['times_real_time']:>14}" if row else f"{name:<18}  not installed")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
