# SPDX-License-Identifier: Apache-2.0
"""Quality of an episode: is there anything a person should look at before training on it? Stored with the dataset by
the export.

    rove run rove_recorder quality DATASET [--flagged]

One line of JSON per episode in DATASET/meta/quality.jsonl; `flags` are sentences, none where nothing is suspicious.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from rove_contract import topics
from rove_contract.joint_error import JointError
from rove_contract.modes import STAGE_OF
from rove_contract.timing import CONTROL_HZ, POLICY_HZ
from rove_description.joints import JointTable
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader

STATE, COMMAND, IMAGE = topics.JOINT_STATES.name, topics.JOINT_COMMAND.name, topics.EGO_IMAGE.name
JOINT_HZ = {STATE: CONTROL_HZ, COMMAND: CONTROL_HZ}
LOST_PICTURES = 5  # in a row; of other sensors likewise


@dataclass(frozen=True)
class Thresholds:
    """Beyond these an episode is flagged."""

    stale_s: float = 6 / CONTROL_HZ  # age of a frame's joints: six control periods lost in a row; see LOST_PICTURES
    rate: float = 0.8  # of the stream's nominal rate
    missed: float = 0.005  # share of a stream's messages: one in 200; best effort loses a few
    # Mean |command - measured| of one joint, rad. The simulated robot's worst joint has 0.05. A hand that holds
    # something is kept away from its command by what it holds.
    tracking_rad: float = 0.15
    tracking_hand_rad: float = 0.5
    frames: int = round(POLICY_HZ)  # an episode shorter than a second
    stage_frames: int = 5  # a stage of a quarter of a second at 20 Hz: a slip of the hand on the panel
    frozen_s: float = 0.5  # the same picture while
    frozen_rad: float = 0.1  # some joint moved this far
    # Reception minus publication: a message cannot arrive before it was sent, so less than this means clocks that
    # differ; more, that too or a network too slow for the assumption that samples count from their reception.
    early_s: float = -0.002
    delay_s: float = 0.1
    skew_s: float = 0.25  # beyond it an episode is excluded: its samples are five frames from where they belong


DEFAULT = Thresholds()


@dataclass
class Quality:
    """What a person wants to know before training on an episode. Streams by topic. flags: sentences; empty = nothing
    suspicious.
    """

    length_s: float
    paused_s: float
    stages: dict[str, int]  # frames per stage
    rates_hz: dict[str, float]
    longest_gap_s: dict[str, float]  # between messages, while the robot acted
    oldest_s: dict[str, float]  # age at a frame, the worst
    mean_age_s: dict[str, float]
    tracking_rad: float  # mean |command - measured| of all joints; lengths count as `joints.METRES_PER_RAD` says
    worst_joint: str  # that with the largest mean |command - measured|,
    worst_joint_rad: float
    frozen_s: float = 0.0  # longest time in which a picture repeated while the robot moved, of the worst camera,
    frozen_camera_s: dict[str, float] = field(default_factory=dict)  # and of each
    dropped: int = 0  # by the recorder, all topics
    missed: dict[str, int] = field(default_factory=dict)  # published, never received; topics with any
    delay_s: dict[str, float] = field(default_factory=dict)  # least reception - publication
    flags: list[str] = field(default_factory=list)
    excluded: bool = False  # not to be trained on, whatever its outcome

    def line(self) -> str:
        stages = " ".join(f"{name.lower()} {count}" for name, count in self.stages.items())
        gaps = {name: f"gap {gap * 1e3:.0f} ms" for name, gap in self.longest_gap_s.items()}
        first = [name.split("/")[1] for name in self.rates_hz]  # tells streams apart, unless one device has several
        short = {name: word if first.count(word) == 1 else name for name, word in zip(self.rates_hz, first)}
        rates = ", ".join(f"{short[name]} {rate:.0f} Hz ({gaps[name]})" for name, rate in self.rates_hz.items())
        skew = max((abs(self.delay_s.get(name, 0.0)) for name in self.rates_hz), default=0.0)
        text = (
            f"{self.length_s:.1f} s [{stages}], pauses {self.paused_s:.1f} s, {rates}, tracking "
            f"{self.tracking_rad:.3f} rad, clocks within {skew * 1e3:.0f} ms"
        )
        return text + "".join(f"\n    ! {flag}" for flag in self.flags)


def assess(
    *,
    table: JointTable,
    state: np.ndarray,
    action: np.ndarray,
    mode: np.ndarray,
    pictures: Mapping[str, Sequence[bytes]],
    sensor_hz: Mapping[str, float],
    at_ns: np.ndarray,
    stretches: Sequence[tuple[int, int]],
    stamps: Mapping[str, np.ndarray],
    ages_s: Mapping[str, np.ndarray],
    complete: bool,
    problems: Iterable[str] = (),
    recorded: Sequence[Mapping[str, str]] = (),
    limits: Thresholds = DEFAULT,
) -> Quality:
    """state, action: (T, J) rad; mode: (T,) ids; pictures: of each camera's topic T JPEGs, or PNGs of depth; sensor_hz:
    nominal rate of each camera, depth camera and tactile array, by topic; at_ns: (T,) source time of the frames;
    stretches: see resample.py; stamps: sorted reception times of each stream, ns; ages_s: (T,) of each stream's sample
    at each frame. complete: the bag holds the episode's end. problems: damage found while reading. recorded:
    custom_data of the bag, or of its parts."""
    acted_s = sum(end - begin for begin, end in stretches) * 1e-9
    span_s = (stretches[-1][1] - stretches[0][0]) * 1e-9
    rates, gaps, oldest, flags = {}, {}, {}, list(problems)
    stale_s = dict.fromkeys(JOINT_HZ, limits.stale_s) | {name: LOST_PICTURES / hz for name, hz in sensor_hz.items()}
    for name, nominal_hz in (JOINT_HZ | dict(sensor_hz)).items():
        parts = [stamps[name][(stamps[name] >= begin) & (stamps[name] < end)] for begin, end in stretches]
        rates[name] = sum(map(len, parts)) / acted_s
        gaps[name] = max((float(np.diff(part).max()) * 1e-9 for part in parts if len(part) > 1), default=acted_s)
        oldest[name] = float(ages_s[name].max())
        if oldest[name] > stale_s[name]:
            share = float((ages_s[name] > stale_s[name]).mean())
            flags.append(
                f"{name} was up to {oldest[name]:.2f} s old at a frame ({share:.0%} of the frames older than "
                f"{stale_s[name]:.2f} s)"
            )
        if rates[name] < limits.rate * nominal_hz:
            flags.append(f"{name} came at {rates[name]:.0f} Hz instead of {nominal_hz:.0f} Hz")
    late = (at_ns[0] - stretches[0][0]) * 1e-9
    if late > 0:
        flags.append(f"the first {late:.2f} s have no frames: a stream had not begun")
    if not complete:
        flags.append("the bag ends before the episode did: outcome unknown, excluded")
    stages = {kind.name: int((mode == kind).sum()) for kind in STAGE_OF if (mode == kind).any()}
    if len(at_ns) < limits.frames:
        flags.append(f"only {len(at_ns)} frames")
    flags += [f"the stage {name.lower()} has only {n} frames" for name, n in stages.items() if n < limits.stage_frames]
    error = np.abs(action - state).mean(axis=0)
    in_rad = table.in_rad
    error = error * in_rad
    allowed = np.array([limits.tracking_hand_rad if block == "hand" else limits.tracking_rad for block in table.blocks])
    worst = int(np.argmax(error / allowed))
    if error[worst] > allowed[worst]:
        apart = JointError(float(error[worst] / in_rad[worst]), table.unit(worst)).words()
        flags.append(f"{table.names[worst]} was on average {apart} from its command: it does not follow, or is blocked")
    frozen = {name: _frozen_s(state * in_rad, seen, at_ns, limits.frozen_rad) for name, seen in pictures.items()}
    flags += [
        f"{name} showed the same picture for {seconds:.1f} s while the robot moved"
        for name, seconds in frozen.items()
        if seconds > limits.frozen_s
    ]
    worst = int(np.argmax(error))
    result = Quality(
        acted_s,
        span_s - acted_s,
        stages,
        rates,
        gaps,
        oldest,
        {name: float(age.mean()) for name, age in ages_s.items()},
        float(error.mean()),
        table.names[worst],
        float(error[worst]),
        max(frozen.values(), default=0.0),
        frozen,
        flags=flags,
    )
    for part in recorded:
        _recorder(result, part, limits)
    return result


def _frozen_s(state: np.ndarray, pictures: Sequence[bytes], at_ns: np.ndarray, moved_rad: float) -> float:
    """Longest time in which neighbouring frames have the same picture although a joint went moved_rad meanwhile."""
    longest, begin = 0.0, 0
    period_s = (
        float(np.median(np.diff(at_ns))) * 1e-9 if len(at_ns) > 1 else 0.0
    )  # a pause has no frames and does not count
    for i in range(1, len(at_ns) + 1):
        if i < len(at_ns) and (pictures[i] is pictures[begin] or pictures[i] == pictures[begin]):
            continue
        if i - begin > 1 and np.abs(state[begin:i] - state[begin]).max() > moved_rad:
            longest = max(longest, (i - 1 - begin) * period_s)
        begin = i
    return float(longest)


def _recorder(result: Quality, recorded: Mapping[str, str], limits: Thresholds) -> None:
    """What the recorder itself knew: lost messages and clocks."""
    try:
        counts = json.loads(recorded.get("counts", "{}"))
        delays = json.loads(recorded.get("clock_offsets", "{}"))
        dropped = {name: int(count["dropped"]) for name, count in counts.items()}
        missed = {name: int(count["missed"]) for name, count in counts.items()}
        received = {name: int(count["received"]) for name, count in counts.items()}
        delays = {name: float(delay) for name, delay in delays.items() if math.isfinite(float(delay))}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        result.flags.append(f"what the recorder counted cannot be read ({error})")
        return
    result.dropped += sum(dropped.values())
    for name, count in missed.items():
        if count:
            result.missed[name] = result.missed.get(name, 0) + count
    result.delay_s |= {
        name: delay for name, delay in delays.items() if abs(delay) >= abs(result.delay_s.get(name, 0.0))
    }
    if any(dropped.values()):
        names = ", ".join(name for name, count in dropped.items() if count)
        result.flags.append(f"the recorder dropped {sum(dropped.values())} messages of {names}")
    for name in result.rates_hz:
        if missed.get(name, 0) > limits.missed * (missed.get(name, 0) + received.get(name, 0)):
            result.flags.append(f"{missed[name]} messages of {name} never arrived")
        delay = delays.get(name, 0.0)
        if abs(delay) > limits.skew_s:
            result.excluded = True
            result.flags.append(
                f"{name} arrived {abs(delay) * 1e3:.0f} ms {'after' if delay > 0 else 'before'} it was sent: its "
                f"computer's clock and the recorder's differ, so its samples belong to other moments; excluded"
            )
        elif delay < limits.early_s:
            result.flags.append(
                f"{name} arrived {-delay * 1e3:.0f} ms before it was sent: the clocks of its computer and the "
                f"recorder differ"
            )
        elif delay > limits.delay_s:
            result.flags.append(
                f"{name} arrived at least {delay * 1e3:.0f} ms after it was sent: clocks that differ, or a slow network"
            )
    if "recorder_note" in recorded:
        result.flags.append(f"the bag was closed early: {recorded['recorder_note']}")


def to_line(episode_index: int, episode_id: str, quality: Quality) -> str:
    """One line of the report file."""

    def rounded(value):
        if isinstance(value, float):
            return round(value, 6)
        return {key: rounded(entry) for key, entry in value.items()} if isinstance(value, dict) else value

    values = {name: rounded(value) for name, value in asdict(quality).items()}
    return json.dumps({"episode_index": episode_index, "episode_id": episode_id, **values}, ensure_ascii=False)


def _check(quality: Quality) -> None:
    """Raises TypeError for a field of another type than `assess` writes."""

    def number(value) -> bool:
        return type(value) in (int, float) and abs(value) < 1e15

    kinds = {"float": number, "int": number, "str": lambda value: isinstance(value, str)}
    kinds |= {"bool": lambda value: isinstance(value, bool)}
    kinds |= {"list[str]": lambda value: isinstance(value, list) and all(isinstance(entry, str) for entry in value)}
    for entry in fields(quality):
        value = getattr(quality, entry.name)
        if entry.type.startswith("dict"):
            sound = isinstance(value, dict) and all(map(number, value.values()))
        else:
            sound = kinds[str(entry.type)](value)
        if not sound:
            raise TypeError(f"{entry.name} is {value!r}, expected {entry.type}"[:200])


def read(root: Path) -> dict[str, Quality]:
    """episode_id -> Quality of a dataset; empty where there is no report. Raises DatasetError for a damaged one."""
    path = Path(root) / layout.QUALITY
    if not path.is_file():
        return {}
    known, found = {entry.name for entry in fields(Quality)}, {}
    for number, text in enumerate(layout.inside(root, layout.QUALITY).read_bytes().splitlines(), 1):
        try:
            values = json.loads(text)
            quality = Quality(**{key: value for key, value in values.items() if key in known})
            _check(quality)
            found[str(values["episode_id"])] = quality
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise layout.DatasetError(
                f"{path}, line {number} is no quality report ({error}); remove the file to go on without it"
            ) from error
    return found


def run(
    dataset: tyro.conf.Positional[Path],
    flagged: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Print the quality of a dataset's episodes, as its export found it.

    Args:
        dataset: the dataset's folder.
        flagged: only episodes with something suspicious.
    """
    try:
        rows = list(reader.read_episodes(dataset)) if reader.read_info(dataset) else []
        found = read(dataset)
    except layout.DatasetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    suspicious = 0
    for row in rows:
        quality = found.get(row["episode_id"])
        suspicious += bool(quality and quality.flags)
        if flagged and not (quality and quality.flags):
            continue
        print(
            f"{row['episode_index']:>5}  {row['episode_id']}: "
            f"{quality.line() if quality else 'no report (not exported from a bag)'}"
        )
    print(f"{len(rows)} episodes, {len(found)} with a report, {suspicious} suspicious")
    return 0


def main() -> int:
    return tyro.cli(run)


if __name__ == "__main__":
    sys.exit(main())
