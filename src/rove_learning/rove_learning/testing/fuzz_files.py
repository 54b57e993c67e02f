# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile files through everything that opens files: what comes out is a result or a sentence.

A target builds a sound folder once, and opens a changed copy of it as a command would. `fuzz` damages copies by rule
(a seed gives the same damage always) and checks each: only errors that say what is wrong, nothing outside the folder
changed, and memory below a limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from rove_contract.files import UnsafePath
from rove_contract.modes import Mode
from rove_recorder.bag.bag import BagError
from rove_recorder.dataset.corrections import CorrectionError
from rove_recorder.dataset.lerobot_format import DatasetError

STORY = ((0, Mode.ROLLOUT), (150, Mode.PAUSED), (200, Mode.ADAPTATION), (300, Mode.RECOVERY))
LARGEST_MEMORY_KB = 2 * 2**20
SLOWEST_S = 30  # of processor time: the load of the machine is no fault of a file
HANGS = 20
HOSTILE: tuple[object, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, float("nan"), float("inf"), "", "x" * 5000,
    "../outside", "/etc/passwd", "a\0b", "{x.__class__}", "{file_index:9999d}", "\ud800", [], {}, [[]], [None],
    {"a": 1},
)  # fmt: skip
NUMBERS = tuple(n.to_bytes(8, "little", signed=n < 0) for n in (0, 1, -1, 2**31 - 1, 2**32, 2**62, 2**63 - 1, 127, 255))


@dataclass(frozen=True)
class Target:
    """make: writes a sound folder. use: opens it as commands do. files: patterns of what is damaged. errors: that say
    what is wrong.
    """

    name: str
    make: Callable[[Path], None]
    use: Callable[[Path], None]
    files: tuple[str, ...]
    errors: tuple[type[Exception], ...]


class FuzzFailure(AssertionError):
    """An input that did what none may; the message says which and how to repeat it."""


def make_bag(folder: Path) -> None:
    from rove_recorder.testing.synthetic import samples, write_bag

    write_bag(folder / "e", samples("e", length_ms=400, lead_ms=50, story=STORY))


def use_bag(folder: Path) -> None:
    """recover, then export, as `convert` does it for one bag; without the encoding, which is the same for all."""
    from rove_description import joints
    from rove_recorder.bag.recover import find_bags, needs_recovery, recover
    from rove_recorder.dataset.encoding import encode_episode
    from rove_recorder.export.episode_bag import EpisodeBag, picture_size

    for bag in find_bags([folder]):
        if needs_recovery(bag):
            recover(bag)
        table = joints.load()
        frames, _ = EpisodeBag(bag).frames(table, 20)
        encode_episode(
            frames, folder / "segments", fps=20, image_size=picture_size(bag), joints=len(table), camera="image"
        )


def make_dataset(folder: Path, camera: str = "video") -> None:
    from rove_learning.testing.synthetic import episode_frames, write_dataset
    from rove_recorder.dataset.scores import write_scores
    from rove_recorder.review.data import ReviewData

    root = write_dataset(folder / "d", [episode_frames(i, 6) for i in range(2)], camera)
    ReviewData(root).correct(1, "excluded", True, "ann")
    write_scores(root, "critic", [0, 0], [0, 1], value=[0.0, 0.0], advantage=[0.0, 0.0], positive=[True, False])
    report = {"episode_index": 0, "episode_id": "e0", "length_s": 1.0, "paused_s": 0.0, "stages": {}, "rates_hz": {}}
    report |= {"longest_gap_s": {}, "oldest_s": {}, "mean_age_s": {}, "tracking_rad": 0.0, "worst_joint": "x"}
    (root / "meta" / "quality.jsonl").write_text(json.dumps(report | {"worst_joint_rad": 0.0}) + "\n")


def use_dataset(folder: Path) -> None:
    """What training, review and an appending export do; each by itself, so that one refusal does not hide the rest."""
    from rove_learning.data.dataset import Dataset
    from rove_learning.data.picture_cache import pictures
    from rove_learning.data.picture_stream import PictureStream
    from rove_recorder.dataset.lerobot import DatasetWriter
    from rove_recorder.dataset.reader import LeRobotReader
    from rove_recorder.review.data import ReviewData

    root = folder / "d"

    def train():
        dataset = Dataset(root)
        pictures(dataset, 24, progress=False)
        PictureStream(dataset, 24, threads=1)[np.arange(len(dataset))]

    def review():
        data = ReviewData(root)
        data.listing()
        for index in sorted(data.episodes)[:2]:
            data.episode(index, "critic")
            data.joints(index)
            data.pictures(index, 0, 2)
            data.correct(index, "excluded", True, "ann")

    def append():
        from rove_description import robot

        camera = "image" if LeRobotReader(root).camera == "image" else "video"
        DatasetWriter(root, robot.load().card, 20, (48, 48), camera).discard()

    _each(train, review, append)


def _each(*parts: Callable[[], None]) -> None:
    """All of them, though one may be refused; the first refusal is raised at the end."""
    refused = None
    for part in parts:
        try:
            part()
        except (DatasetError, CorrectionError, UnsafePath) as error:
            refused = refused or error
    if refused is not None:
        raise refused


def make_journal(folder: Path) -> None:
    """A commit that was killed between its journal and its moves."""
    from rove_learning.testing.synthetic import episode_frames, write_dataset

    root = write_dataset(folder / "d", [episode_frames(0, 6)])
    staging = root / ".staging"
    for name in ("meta/info.json", "meta/tasks.parquet"):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, staging / name)
    (staging / "journal.json").write_text(json.dumps(["meta/tasks.parquet", "meta/info.json"]))


def use_journal(folder: Path) -> None:
    from rove_description import robot
    from rove_recorder.dataset.lerobot import DatasetWriter

    DatasetWriter(folder / "d", robot.load().card, 20, (48, 48)).discard()


def make_checkpoint(folder: Path) -> None:
    from rove_learning.config import ActorConfig, BackboneConfig, CriticConfig
    from rove_learning.inference import checkpoint
    from rove_learning.models.actor import Actor
    from rove_learning.models.critic import Critic

    backbone = BackboneConfig(image_size=24, channels=(4, 8, 8), width=16, heads=2)
    actor = Actor(ActorConfig(backbone=backbone, width=16, layers=1, heads=2), 50)
    checkpoint.save(folder / "policy", actor, Critic(CriticConfig(backbone=backbone, width=16, heads=2)))


def use_checkpoint(folder: Path) -> None:
    from rove_learning.inference import checkpoint

    path = folder / "policy"
    # The weights' hash is part of config.json: damaged weights would all be refused for it, unread.
    for name in ("actor", "critic"):
        _rehash(path, name)
    policy = checkpoint.load(path)
    policy.act(np.zeros((24, 24, 3), np.uint8), np.zeros(50), "wipe")


def _rehash(path: Path, name: str) -> None:
    try:
        info = json.loads((path / "config.json").read_text())
        info["sha256"][name] = hashlib.sha256((path / f"{name}.safetensors").read_bytes()).hexdigest()
        (path / "config.json").write_text(json.dumps(info))
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        pass  # damaged, which is what is to be tried


def make_yaml(folder: Path) -> None:
    from rove_learning import command_line
    from rove_learning.config import TrainConfig

    (folder / "config.yaml").write_text(command_line.text(TrainConfig(("runs/data",), "runs/out")))


def use_yaml(folder: Path) -> None:
    from rove_learning import command_line
    from rove_learning.config import TrainConfig, from_dict

    from_dict(TrainConfig, command_line.read_yaml(str(folder / "config.yaml")))


def _targets() -> dict[str, Target]:
    from rove_learning.inference.checkpoint import CheckpointError

    data = (DatasetError, CorrectionError)
    everything = ("**/*.json", "**/*.jsonl", "**/*.parquet", "**/*.mp4")
    return {
        target.name: target
        for target in (
            Target("bag", make_bag, use_bag, ("**/*.mcap", "**/metadata.yaml"), (BagError, ValueError, OSError)),
            Target("dataset", make_dataset, use_dataset, everything, data),
            Target("jpegs", lambda folder: make_dataset(folder, "image"), use_dataset, ("**/data/**/*.parquet",), data),
            Target("journal", make_journal, use_journal, ("**/journal.json", "**/.staging/**/*.*"), data),
            Target(
                "checkpoint", make_checkpoint, use_checkpoint, ("**/*.json", "**/*.safetensors"), (CheckpointError,)
            ),
            Target("yaml", make_yaml, use_yaml, ("**/*.yaml",), (ValueError,)),
        )
    }


TARGETS = ("bag", "dataset", "jpegs", "journal", "checkpoint", "yaml")


def damage(sound: bytes, rng: random.Random) -> bytes:
    """One to four changes of bytes: flipped, zeroed, cut off, cut out, repeated, or a number of the dangerous kind."""
    data = bytearray(sound)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            return bytes(rng.randbytes(rng.randrange(1, 64)))
        at, length = rng.randrange(len(data)), rng.choice((1, 1, 2, 8, 64, 512))
        kind = rng.randrange(7)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            data[at : at + length] = bytes(length)
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[max(0, at - length) : at]
        else:
            data[at : at + 8] = rng.choice(NUMBERS)
    return bytes(data)


def damage_value(value, rng: random.Random):
    """A JSON or YAML value with one of its parts replaced, removed or nested."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: damage_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], damage_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(HOSTILE)


def damage_file(path: Path, rng: random.Random) -> None:
    """Change one file: text formats mostly within their grammar, so that the damage is met behind the parser."""
    data = path.read_bytes()
    kind = path.suffix
    if rng.random() < 0.02:
        path.unlink()
        target = rng.choice(("../../outside", "/etc/hostname", path.name))
        if rng.random() < 0.5:
            path.symlink_to(target)
        return
    if kind in (".json", ".jsonl", ".yaml") and rng.random() < 0.8:
        deep = "[" * 100_000 if rng.random() < 0.01 else ""
        if kind == ".yaml":
            changed = yaml.safe_dump(_plain(damage_value(yaml.safe_load(data), rng)), sort_keys=False)
        else:
            lines = data.decode().splitlines() if kind == ".jsonl" else [data.decode()]
            at = rng.randrange(len(lines))
            lines[at] = json.dumps(damage_value(json.loads(lines[at]), rng))
            changed = "\n".join(lines) + "\n"
        path.write_bytes((deep + changed).encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(damage(data, rng))


def _plain(value):
    """What YAML cannot write becomes a number."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return 0 if isinstance(value, str) and not value.isprintable() else value


def state(folder: Path) -> dict[str, tuple]:
    """Name, kind, size and time of change of everything below a folder."""
    found = {}
    for path, folders, names in os.walk(folder):
        for name in (*folders, *names):
            info = os.lstat(os.path.join(path, name))
            found[os.path.join(path, name)] = info.st_mode, info.st_size, info.st_mtime_ns, info.st_ino
    return found


@contextmanager
def alarm(seconds: int, what: str) -> Iterator[None]:
    """A FuzzFailure when the block takes more processor time, or hangs for HANGS times as long without taking any."""

    def ring(*_):
        raise FuzzFailure(f"{what} took more than {seconds} s")

    numbers = (signal.SIGPROF, signal.SIGALRM)
    previous = [signal.signal(number, ring) for number in numbers]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(HANGS * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in zip(numbers, previous):
            signal.signal(number, handler)


def fuzz(name: str, seeds: range, folder: Path, report: Callable[[int], None] = lambda seed: None) -> dict[str, int]:
    """Try the damage of each seed on a target; {"accepted": number, error's name: number}.

    folder: scratch space, empty. report: called with each seed before it is tried. Raises FuzzFailure.
    """
    target = _targets()[name]
    sound, home = folder / "sound", folder / "home"
    sound.mkdir()
    home.mkdir()
    for file in ("outside", ".bashrc"):
        (home / file).write_text("mine")
    target.make(sound)
    with alarm(SLOWEST_S, "the sound one"):
        shutil.copytree(sound, home / "in")
        target.use(home / "in")  # must be right, or every refusal below would prove nothing
        shutil.rmtree(home / "in")
    before = state(home)
    counts: dict[str, int] = {}
    for seed in seeds:
        report(seed)
        rng = random.Random(f"{name} {seed}")
        shutil.copytree(sound, home / "in", symlinks=True)
        files = sorted({path for pattern in target.files for path in (home / "in").glob(pattern) if path.is_file()})
        damage_file(rng.choice(files), rng)
        what = f"{name} with seed {seed}"
        try:
            with alarm(SLOWEST_S, what):
                target.use(home / "in")
            outcome = "accepted"
        except target.errors as error:
            outcome = type(error).__name__
            if not str(error):
                raise FuzzFailure(f"{what}: {outcome} without a sentence") from error
        except FuzzFailure:
            raise
        except Exception as error:
            raise FuzzFailure(f"{what}: {''.join(traceback.format_exception(error))}") from error
        shutil.rmtree(home / "in")
        counts[outcome] = counts.get(outcome, 0) + 1
        if (after := state(home)) != before:
            changed = sorted(set(after.items()) ^ set(before.items()))
            raise FuzzFailure(f"{what} changed what lies outside its folder: {changed[:4]}")
        if (used := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) > LARGEST_MEMORY_KB:
            raise FuzzFailure(f"{what} took {used / 2**20:.1f} GB")
    return counts
