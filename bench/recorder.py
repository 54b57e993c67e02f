# SPDX-License-Identifier: Apache-2.0
"""Recorder: sustained throughput without a drop, beside rosbags' writer; and the recorder node's CPU at the session's
rate over ROS.

Writers of one kind stand beside each other: uncompressed and compressed with zstd, and what each brings to the disk.
rosbags' writer is faster uncompressed: it waits for no disk and leaves nothing readable behind when it is killed.

    python bench/recorder.py [--quick]

Prints a table, then one JSON line. Targets: at least 10 times the session's rate without a drop; below 15 % of a core
at its rate.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from rove_contract import domain, images, topics
from rove_contract.files import sync
from rove_recorder.bag.bag import BagTopic, BagWriter
from rove_recorder.bag.recording import RawMessage, Recording
from rove_recorder.bag.recover import read_metadata
from rove_recorder.testing.synthetic import T0, cdr, joint_state, kind, stamp

FAKE_ROBOT = Path(__file__).parents[1] / "src/rove_recorder/test/fake_robot.py"
WRITERS = {
    "rove_zstd": "every 0.5 s, all but the last second",
    "rove_lz4": "every 0.5 s, all but the last second",
    "rove_none": "every 0.5 s, all but the last second",
    "rosbags_none": "never, nothing is promised",
    "rosbags_none_synced": "at the end, nothing is promised",
    "rosbags_zstd_synced": "at the end, nothing is promised",
}
STREAMS = ("/joint_states", "/joint_command", "/teleop/joint_targets")


def camera_jpeg(rng) -> bytes:
    """A 640 x 480 picture with some texture: about the size that a real head camera's JPEG has (100 kB)."""
    y, x = np.mgrid[0:480, 0:640]
    picture = np.stack([x % 256, y % 256, (x + y) % 256], axis=-1) + rng.integers(0, 40, (480, 640, 3))
    return images.encode_jpeg(np.clip(picture, 0, 255).astype(np.uint8), 85)


def second_of_session(rng) -> list[RawMessage]:
    """What one second brings: 100 Hz joint states, commands and targets, 30 Hz pictures, each another one. Stamps are
    relative.
    """
    found = []
    states = [joint_state(T0, rng.normal(size=50)) for _ in range(100)]
    header = kind("std_msgs/msg/Header")(stamp(T0), "ego")
    for i in range(100):
        for name in STREAMS:
            found.append(RawMessage(name, i * 10_000_000, i * 10_000_000, states[i]))
    for i in range(30):
        image = kind("sensor_msgs/msg/CompressedImage")(header, "jpeg", np.frombuffer(camera_jpeg(rng), np.uint8))
        data = cdr(image, "sensor_msgs/msg/CompressedImage")
        found.append(RawMessage(topics.EGO_IMAGE.name, i * 33_333_333, i * 33_333_333, data))
    return sorted(found, key=lambda sample: sample.log_ns)


def ours(folder: Path, session: list[list[RawMessage]], seconds: int, compression: str) -> dict:
    """As fast as the writer thread takes it, fsyncs included."""
    recording = Recording(
        lambda: BagWriter(folder, [BagTopic.of(t) for t in topics.TOPICS], {}, compression=compression)
    )
    begin, cpu = time.perf_counter(), time.process_time()
    for k in range(seconds):
        shift = T0 + k * 1_000_000_000
        second = session[k % len(session)]
        recording.put([s._replace(log_ns=s.log_ns + shift, publish_ns=s.publish_ns + shift) for s in second])
        while recording._queued_bytes > recording._limit // 2:  # the feeder waits, so that nothing is dropped
            threading.Event().wait(0.002)
    recording.close()
    recording.join()
    wall = time.perf_counter() - begin
    if recording.error:
        raise SystemExit(f"error: {recording.error}")
    return rates(session[0], seconds, wall) | {
        "dropped": recording.dropped,
        "cpu_s": round(time.process_time() - cpu, 3),
    }


def memory(root: Path, session: list[list[RawMessage]], count: int) -> dict:
    """Of this process after each of `count` recordings of 15 s, MB: the lowest of the first and of the last third, and
    the highest of all. What a recording holds for a while comes and goes; a leak raises the lowest.
    """
    used, part = [], max(1, count // 3)
    for i in range(count):
        ours(root / f"memory{i}", session, 15, "zstd")
        shutil.rmtree(root / f"memory{i}")
        used.append(psutil.Process().memory_full_info().uss / 1e6)
    return {
        "recordings": count,
        "lowest_mb_first": round(min(used[:part]), 1),
        "lowest_mb_last": round(min(used[-part:]), 1),
        "highest_mb": round(max(used), 1),
    }


def rosbags(folder: Path, session: list[list[RawMessage]], seconds: int, compressed: bool, synced: bool) -> dict:
    """rosbags' writer in the same thread. compressed: each message by itself with zstd, the way it can with MCAP.
    synced: the finished file is brought to the disk, once.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    begin, cpu = time.perf_counter(), time.process_time()
    bag = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    if compressed:
        bag.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with bag as writer:
        connections = {
            name: writer.add_connection(name, topics.BY_NAME[name].type, typestore=store)
            for name in {s.topic for s in session[0]}
        }
        for k in range(seconds):
            shift = T0 + k * 1_000_000_000
            for sample in session[k % len(session)]:
                writer.write(connections[sample.topic], sample.log_ns + shift, sample.data)
    for file in folder.iterdir() if synced else ():
        sync(file)
    return rates(session[0], seconds, time.perf_counter() - begin) | {"cpu_s": round(time.process_time() - cpu, 3)}


def rates(second, seconds, wall) -> dict:
    size = sum(len(s.data) for s in second)
    return {
        "mb_per_s": round(size * seconds / wall / 1e6, 1),
        "messages_per_s": round(len(second) * seconds / wall),
        "times_session_rate": round(seconds / wall, 1),
    }


def over_ros(folder: Path, seconds: float, scale: float) -> dict:
    """The recorder node beside a robot that publishes at `scale` times the session's rate: its share of a core, and
    drops.
    """
    env = {**os.environ, "ROS_DOMAIN_ID": str(domain.reserve()), "FAKE_SCALE": str(scale)}
    env["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    command = [
        sys.executable,
        "-m",
        "rove_recorder.recorder_node",
        "--ros-args",
        "-p",
        f"out_dir:={folder}",
        "--log-level",
        "error",
    ]
    node = subprocess.Popen(command, env=env)
    robot = subprocess.Popen(
        [sys.executable, str(FAKE_ROBOT), str(seconds)], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        for line in robot.stdout:
            if line.startswith("STARTED"):
                break
        process = psutil.Process(node.pid)
        before, begin = process.cpu_times(), time.monotonic()
        threading.Event().wait(seconds - 0.5)
        after, wall = process.cpu_times(), time.monotonic() - begin
        robot.communicate(timeout=30)
    finally:
        robot.kill()
        node.send_signal(signal.SIGINT)
        node.wait(10)
    used = after.user + after.system - before.user - before.system
    custom = read_metadata(folder / "episode-0")["custom_data"]
    return {
        "cpu_percent_of_core": round(100 * used / wall, 1),
        "messages_per_s": round(int(custom["written"]) / seconds),
        "dropped": int(custom["dropped"]),
        "missed": int(custom["missed"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than 30 s")
    parser.add_argument("--recordings", type=int, help="one after the other, for the writer's memory (40; quick: none)")
    parser.add_argument("--dir", default=None, help="disk to write to (default: the system's temporary folder)")
    args = parser.parse_args()
    seconds = 60 if args.quick else 600
    rng = np.random.default_rng(0)
    session = [second_of_session(rng) for _ in range(3)]  # longer than a chunk: zstd must not find a picture twice
    root = Path(tempfile.mkdtemp(prefix="rove_bench_", dir=args.dir))
    result = {
        "bench": "recorder",
        "quick": args.quick,
        "cores": os.cpu_count(),
        "session_mb_per_s": rates(session[0], 1, 1.0)["mb_per_s"],
    }
    result["session_messages_per_s"] = len(session[0])
    try:
        # before the other writers: what they leave in the heap would hide a leak
        if count := (0 if args.quick else 40) if args.recordings is None else args.recordings:
            result["memory"] = memory(root, session, count)
        for name, run in (
            ("rove_zstd", lambda path: ours(path, session, seconds, "zstd")),
            ("rove_lz4", lambda path: ours(path, session, seconds, "lz4")),
            ("rove_none", lambda path: ours(path, session, seconds, "none")),
            ("rosbags_none", lambda path: rosbags(path, session, seconds, False, False)),
            ("rosbags_none_synced", lambda path: rosbags(path, session, seconds, False, True)),
            ("rosbags_zstd_synced", lambda path: rosbags(path, session, seconds, True, True)),
        ):
            result[name] = run(root / name)
            shutil.rmtree(root / name)
        result["ros_session_rate"] = over_ros(root / "ros", 6.0 if args.quick else 30.0, 1.0)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(
        f"{'writer':<22}{'MB/s':>8}{'messages/s':>12}{'x session':>11}{'CPU s':>8}{'dropped':>9}  fsync, left by a kill"
    )
    for name, words in WRITERS.items():
        row = result[name]
        print(
            f"{name:<22}{row['mb_per_s']:>8}{row['messages_per_s']:>12}{row['times_session_rate']:>11}"
            f"{row['cpu_s']:>8}{row.get('dropped', '-'):>9}  {words}"
        )
    row = result["ros_session_rate"]
    print(
        f"node at the session's rate: {row['cpu_percent_of_core']} % of a core, {row['dropped']} dropped, "
        f"{row['missed']} missed"
    )
    if row := result.get("memory"):
        print(
            f"memory after {row['recordings']} recordings: lowest {row['lowest_mb_first']} MB in the first third, "
            f"{row['lowest_mb_last']} MB in the last, highest {row['highest_mb']} MB"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
