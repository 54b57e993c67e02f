# SPDX-License-Identifier: Apache-2.0
"""Nothing lost: real recorders are killed, run out of disk, wait for a disk that stands still and lose their power."""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rove_recorder.bag.mcap_stream import McapStream
from rove_recorder.bag.recover import Unrepaired, files_of, read_metadata, recover
from rove_recorder.export.export import export_bags

ROBOT = str(Path(__file__).parents[1] / "fake_robot.py")
LOST_S = 1.0
SEED = int(os.environ.get("ROVE_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KILLS, TOGETHER = 21, 7


def kill(process):
    """The process and all its children, if there still are any."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def start():
    processes, alarms = [], []

    def run(*command, **env):
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            start_new_session=True,
        )
        processes.append(process)
        alarms.append(threading.Timer(60.0, kill, [process]))  # whoever waits for it sees it end
        alarms[-1].start()
        return process

    yield run
    for process, alarm in zip(processes, alarms):
        alarm.cancel()
        kill(process)
        process.wait(10)
        process.stdout.close()


def line(process, beginning):
    """The rest of the first line that begins so."""
    for text in process.stdout:
        if text.startswith(beginning):
            return text[len(beginning) :].strip()
    raise AssertionError(f"the process ended without saying {beginning!r}")


def wait(seconds):
    threading.Event().wait(max(0.0, seconds))


def states(folder):
    return [message for path in files_of(folder) for message in McapStream(path).messages(frozenset(["/joint_states"]))]


def assert_no_hole(found):
    """Up to its last sample the stream is whole: the publisher counted them. 0: before the recorder knew that there is
    one publisher.
    """
    sequences = list(itertools.dropwhile(lambda number: number == 0, [message.sequence for message in found]))
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def exported(folder, out):
    """The bag's frames, through a whole export of its own."""
    (result,) = export_bags([folder], out, camera="image", progress=False)
    assert not result.error, result.error
    return result.episode.frames


# One after the other: of processes that create Fast DDS's shared memory at the same time one may wait for another's
# without end.
RECORDERS = """
import os, sys
from rove_recorder import recorder_node  # once for all of them: a fork costs milliseconds
pids, (told, tell) = [], os.pipe()
class Telling(recorder_node.RecorderNode):
    def __init__(self):
        super().__init__()
        os.write(tell, b".")
recorder_node.RecorderNode = Telling
for i in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        arguments = ["-r", f"__node:=recorder_{i}", "-p", f"out_dir:={sys.argv[1]}/{i}", "--log-level", "error"]
        sys.argv = ["recorder", "--ros-args", *arguments]
        os._exit(recorder_node.main())
    pids.append(pid)
    os.read(told, 1)
print("PIDS", *pids)
for pid in pids:
    os.waitpid(pid, 0)
"""


@pytest.mark.ros
@pytest.mark.parametrize("wave", range(KILLS // TOGETHER))
def test_recorders_killed_at_random_moments_lose_at_most_a_second_and_what_is_left_exports(
    tmp_path, shared_memory, start, wave
):
    """Several recorders hear one robot and die one after the other: many moments for the price of one episode."""
    chooser = random.Random(SEED + wave)
    moments = sorted(chooser.uniform(0.0, 3.0) for _ in range(TOGETHER))
    print(f"ROVE_CRASH_SEED={SEED} gives these moments, s: {[round(moment, 3) for moment in moments]}")
    recorders = start("-c", RECORDERS, tmp_path, TOGETHER)
    pids = [int(pid) for pid in line(recorders, "PIDS").split()]
    robot = start(ROBOT, 5, FAKE_RECORDERS=str(TOGETHER), FAKE_SCALE="0.5", FAKE_LOG=str(tmp_path / "sent"))
    started_ns = int(line(robot, "STARTED"))
    killed = {}
    for i, moment in zip(chooser.sample(range(TOGETHER), TOGETHER), moments):
        wait(moment - (time.time_ns() - started_ns) * 1e-9)
        os.kill(pids[i], signal.SIGKILL)
        killed[i] = time.time_ns()
    recorders.wait(20)
    sent, lost, frames = [int(text) for text in (tmp_path / "sent").read_text().split()], [], []
    for i, killed_ns in killed.items():
        folder = tmp_path / str(i) / "episode-0"
        lived_s = (killed_ns - started_ns) * 1e-9
        if not list(folder.glob("*.mcap")):  # it had no time to open its bag
            lost.append(lived_s)
            continue
        result = recover(folder)
        assert result.repaired
        last_ns = max(stamp for stamp in sent if stamp <= killed_ns)  # a robot that is slow has not lost anything
        lost.append((last_ns - max(result.until_ns, started_ns)) * 1e-9)
        if result.messages:
            assert_no_hole(states(folder))
        if lived_s > LOST_S:
            frames.append(len(exported(folder, tmp_path / f"d{i}")))
    print(f"lost at most {max(lost):.2f} s of {TOGETHER} episodes; {len(frames)} exported, {sum(frames)} frames")
    assert max(lost) <= LOST_S, [round(seconds, 3) for seconds in lost]


@pytest.mark.ros
def test_an_episode_ends_cleanly_before_the_disk_is_full_and_none_starts_after_it(tmp_path, start, tmpfs):
    disk = tmpfs(3)
    parameters = ["-p", f"out_dir:={disk}/bags", "-p", "compression:=none", "-p", "min_free_gb:=0.0016"]
    node = start("-m", "rove_recorder.recorder_node", "--ros-args", *parameters, "--log-level", "fatal")
    output, _ = start(ROBOT, 7).communicate(timeout=40)
    result = json.loads(output.splitlines()[-1])
    node.send_signal(signal.SIGINT)
    assert node.wait(10) == 0
    assert result["aborted"], "the supervisor was not asked to end the episode"
    assert result["status"]["ready"] == "false"
    assert any("are needed" in text for text in result["said"]), result["said"]
    custom = read_metadata(disk / "bags" / "episode-0")["custom_data"]
    assert custom["recorder_note"] == "the disk was almost full"
    assert_no_hole(states(disk / "bags" / "episode-0"))
    assert exported(disk / "bags" / "episode-0", tmp_path / "d").excluded


FEED = """
import sys, threading, time
from rove_contract import topics
from rove_contract.modes import Mode
from rove_recorder.bag.recording import Recording
from rove_recorder.testing.synthetic import *
folder, limit, wait = Path(sys.argv[1]), float(sys.argv[2]), threading.Event()
recording = Recording(lambda: BagWriter(folder, [BagTopic.of(t) for t in topics.TOPICS], {}, compression=sys.argv[3]))
begin, jpeg, count = time.time_ns(), image(T0, 0), 0
episode = episodes.Episode(folder.name, "erase the whiteboard", started_ns=begin)
put = lambda topic, data, n=0: recording.put([RawMessage(topic, now, now, data, n)])
now = begin
put(topics.EPISODE.name, status(episode))
put(topics.MODE.name, mode(Mode.IDLE, Mode.ROLLOUT, begin))
print("STARTED", begin)
while not recording.error and now - begin < limit * 1e9:
    now, count = time.time_ns(), count + 1
    put("/joint_states", joint_state(now), count)
    put("/joint_command", joint_state(now), count)
    if count % 3 == 0:
        put(topics.EGO_IMAGE.name, jpeg, count // 3)
    wait.wait(0.01)
recording.close()
recording.join(10)
assert (recording.info is None) == bool(recording.error), "a bag with an error must not look complete"
lost = sum(c.dropped for c in recording.counts.values())
assert all(c.received == c.written + c.dropped for c in recording.counts.values())
print("ENDED", recording.error or "complete")
"""


def test_on_a_full_disk_the_bag_is_no_success_and_exports_without_room_for_its_repair(tmp_path, start, tmpfs):
    disk = tmpfs(1)
    feed = start("-c", FEED, disk / "e", 30, "none")
    started_ns = int(line(feed, "STARTED"))
    assert "No space left" in line(feed, "ENDED")
    full_ns = time.time_ns()
    assert feed.wait(10) == 0
    assert not (disk / "e" / "metadata.yaml").exists()
    with pytest.raises(Unrepaired, match="takes .* MB beside it. Nothing was changed"):
        recover(disk / "e")
    assert [path.name for path in (disk / "e").iterdir()] == ["e_0.mcap"]
    (result,) = export_bags([disk / "e"], tmp_path / "d", progress=False)
    assert "read as it is" in result.notes
    assert len(result.episode.frames) >= 20 * ((full_ns - started_ns) * 1e-9 - LOST_S) - 1
    shutil.copytree(disk / "e", tmp_path / "e")
    repaired = recover(tmp_path / "e")
    assert (full_ns - repaired.until_ns) * 1e-9 <= LOST_S
    assert_no_hole(states(tmp_path / "e"))


@pytest.mark.ros
def test_while_the_disk_stands_still_nothing_is_lost_and_the_recorder_says_so(tmp_path, start, ext4):
    node = start(
        "-m",
        "rove_recorder.recorder_node",
        "--ros-args",
        "-p",
        f"out_dir:={ext4.folder}/bags",
        "-p",
        "min_free_gb:=0.001",
    )
    robot = start(ROBOT, 3.5)
    line(robot, "STARTED")
    wait(0.7)
    ext4.freeze()
    wait(1.8)
    ext4.thaw()
    result = json.loads(line(robot, '{"sent": ').join(['{"sent": ', ""]))
    node.send_signal(signal.SIGINT)
    assert node.wait(10) == 0
    custom = read_metadata(ext4.folder / "bags" / "episode-0")["custom_data"]
    counts = json.loads(custom["counts"])
    assert (custom["outcome"], custom["dropped"], custom["missed"]) == ("success", "0", "0")
    assert counts["/joint_states"]["written"] >= result["sent"][0]["/joint_states"]
    assert any("the disk does not keep up" in text for text in result["said"]), result["said"]
    assert_no_hole(states(ext4.folder / "bags" / "episode-0"))
    assert len(exported(ext4.folder / "bags" / "episode-0", tmp_path / "d")) > 40


def test_a_recorder_killed_while_the_disk_stands_still_keeps_what_came_before(tmp_path, start, ext4):
    feed = start("-c", FEED, ext4.folder / "e", 30, "zstd")
    line(feed, "STARTED")
    wait(1.5)
    frozen_ns = time.time_ns()
    ext4.freeze()
    wait(0.8)
    feed.send_signal(signal.SIGKILL)
    wait(0.1)
    ext4.thaw()  # a process that waits for the disk dies when it answers
    assert feed.wait(10) == -signal.SIGKILL
    assert (frozen_ns - recover(ext4.folder / "e").until_ns) * 1e-9 <= LOST_S
    assert_no_hole(states(ext4.folder / "e"))
    assert len(exported(ext4.folder / "e", tmp_path / "d")) >= 10


def test_a_power_cut_takes_at_most_a_second(tmp_path, start, ext4):
    feed = start("-c", FEED, ext4.folder / "e", 30, "zstd")
    line(feed, "STARTED")
    wait(2.0)
    ext4.cut_power()
    cut_ns = time.time_ns()
    assert "Input/output error" in line(feed, "ENDED")
    assert feed.wait(10) == 0
    ext4.unmount()
    ext4.mount()
    result = recover(ext4.folder / "e")
    assert result.repaired
    assert (cut_ns - result.until_ns) * 1e-9 <= LOST_S
    assert_no_hole(states(ext4.folder / "e"))
    assert len(exported(ext4.folder / "e", tmp_path / "d")) >= 20
