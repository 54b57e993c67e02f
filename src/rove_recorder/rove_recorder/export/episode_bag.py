# SPDX-License-Identifier: Apache-2.0
"""One bag -> one dataset episode: the messages at the dataset's ticks, decoded by the code that decodes them live.

Times are the recorder's reception times, which is when a policy on the same machine could have known a message; only
modes count from their own transition stamps. Two passes over the bag: the first keeps stamps only, the second decodes
just the chosen messages, so memory grows with the episode's chosen JPEGs and not with its bag.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from rove_contract import episode as episodes
from rove_contract import files, images, messages, topics
from rove_contract.depth import TactileError, png_of
from rove_contract.depth import tactile as tactile_of
from rove_contract.episode import Episode
from rove_contract.modes import SOURCE_OF, STAGE_OF, Mode, Outcome
from rove_contract.timing import CAMERA_HZ
from rove_description.card import RobotCard
from rove_description.joints import JointTable
from rove_description.sensors import EGO, Camera, Sensors
from rove_recorder.bag.bag import CLOCK, BagError
from rove_recorder.bag.mcap_stream import LATEST_NS, McapStream, Message
from rove_recorder.bag.recover import files_of, read_metadata
from rove_recorder.bag.schema import typestore
from rove_recorder.dataset.encoding import EpisodeFrames
from rove_recorder.dataset.lerobot_format import Sizes, sizes_of
from rove_recorder.dataset.quality import COMMAND, IMAGE, STATE, Quality, assess
from rove_recorder.export import resample
from rove_recorder.export.clock import SteadyTime, noted

LONGEST_GAP_S = 1.0  # without a sample of one stream: frames in it would be frozen, so they are left out
KEPT_S = 1 / CAMERA_HZ  # as long as the last sample before such a gap still counts
SET_BACK_S = 0.5  # that stamps may go back in a bag: messages wait in queues, but no longer


NO_SENSORS = Sensors()
EGO_ONLY = {EGO: Camera(EGO, IMAGE, 640, 480, CAMERA_HZ, policy=True, critic=True)}


class EpisodeBag:
    """Index of one episode's bag: stamps of the streams, mode timeline, the robot, and the episode as last announced.

    cameras: name -> camera of the robot's description, those that become part of the episode. sensors: likewise, depth
    cameras and tactile arrays. streams: topics of all these and of the joints, which a bag must have. folders: the bag,
    or its parts when the recorder died within the episode and came back. Times are those of the system clock at the
    start of the bag, see clock.py. Raises BagError.
    """

    def __init__(self, *folders: Path, cameras: Mapping[str, Camera] = EGO_ONLY, sensors: Sensors = NO_SENSORS):
        self.cameras, self.sensors = dict(cameras), sensors
        seen = (*cameras.values(), *sensors.by_name.values())
        self.streams = (STATE, COMMAND, *(stream.topic for stream in seen))
        self._types = {sensor.topic: sensor.type for sensor in sensors.by_name.values()}
        self.folders = tuple(map(Path, folders))
        self.folder = self.folders[0]
        self.files = [file for folder in self.folders for file in files_of(folder)]
        self.stamps: dict[str, np.ndarray] = {}
        self.problems: list[str] = []
        self.recorded = [_custom(folder) for folder in self.folders]
        self.robot = RobotCard(str(self.recorded[0].get("robot", "")), str(self.recorded[0].get("robot_hash", "")))
        self.episode: Episode | None = None
        self._spans: dict[Path, tuple[int, int]] = {}  # first and last stamp of each part
        self._index()

    def messages(self, wanted: frozenset[str]) -> Iterator[Message]:
        """The `wanted` messages in the order in which they were written, log_ns corrected."""
        for folder, custom in zip(self.folders, self.recorded):
            try:
                offsets = noted(custom)
            except ValueError as error:
                raise BagError(f"{folder}: {error}") from error
            clock, first, last = SteadyTime(offsets), None, 0
            for path in files_of(folder):
                stream, read = McapStream(path), 0
                for message in stream.messages(wanted):
                    if not offsets and len(stream.metadata) > read:  # not closed: its metadata.yaml does not say it
                        for record in stream.metadata[read:]:
                            if record.name == CLOCK:
                                clock.note(int(record.metadata["system_ns"]), int(record.metadata["steady_ns"]))
                        read = len(stream.metadata)
                    self._clock = clock
                    message = message._replace(log_ns=clock.received(message.log_ns))
                    first, last = message.log_ns if first is None else first, max(last, message.log_ns)
                    yield message
                self._found(f"{path.name} {problem}" for problem in stream.problems)
            if first is not None:
                self._spans[folder] = first, last
            self._found(f"the clock was set by {step:+.2f} s within the episode" for step in clock.steps_s)

    def _found(self, problems: Iterable[str]) -> None:
        self.problems += [problem for problem in problems if problem not in self.problems]

    def decode(self, message):
        """CDR -> message object. Raises BagError for bytes that are no such message."""
        try:
            kind = self._types.get(message.topic) or topics.BY_NAME.get(message.topic, topics.EGO_IMAGE).type
            return typestore().deserialize_cdr(message.data, kind)
        except Exception as error:  # rosbags' generated readers raise whatever the damage leads to
            raise BagError(f"{self.folder}: a message on {message.topic} cannot be decoded ({error})") from error

    def _index(self) -> None:
        stamps: dict[str, list[int]] = {name: [] for name in self.streams}
        events: dict[tuple[int, Mode], int] = {}  # transition -> when, on the corrected clock
        wanted = frozenset([*self.streams, topics.MODE.name, topics.EPISODE.name])
        last_ns = 0
        for message in self.messages(wanted):
            if message.topic == topics.MODE.name:
                event = self.decode(message)
                try:
                    key = event.timestamp, messages.recorded_mode(event)
                except ValueError as error:
                    raise BagError(f"{self.folder}: {topics.MODE.name} has the unknown mode {error}") from error
                if event.timestamp >= LATEST_NS:
                    raise BagError(f"{self.folder}: {topics.MODE.name} has the impossible stamp {event.timestamp} ns")
                if key not in events:
                    events[key] = self._clock.sent(event.timestamp, message.log_ns)
            elif message.topic == topics.EPISODE.name:
                self._announced(message)
            else:
                last = stamps[message.topic]
                if last and message.log_ns < last[-1] - SET_BACK_S * 1e9:
                    raise BagError(
                        f"{self.folder}: {message.topic} goes back by {(last[-1] - message.log_ns) * 1e-9:.2f} s: the "
                        f"clock was set back and the recorder did not note it, so what followed what is unknown"
                    )
                last.append(message.log_ns)
            last_ns = max(last_ns, message.log_ns)
        if not last_ns and not any(True for path in self.files for _ in McapStream(path).messages()):
            raise BagError(
                f"{self.folder}: the recorder died before anything of the episode was on the disk; there is nothing "
                f"to export"
            )
        if self.episode is None:
            raise BagError(f"{self.folder} has no message on {topics.EPISODE.name}: it is no episode")
        for name, values in stamps.items():
            if not values:
                raise BagError(f"{self.folder} has no message on {name}; a dataset needs {', '.join(self.streams)}")
            self.stamps[name] = np.array(values, dtype=np.int64)
        self.timeline = resample.timeline((at, mode) for (_, mode), at in events.items())
        self.end_ns = last_ns

    def _announced(self, message: Message) -> None:
        try:
            episode = episodes.from_status(self.decode(message))
            files.name(episode.id, "episode id")
            if not all(0 <= at < LATEST_NS for at in (episode.started_ns, episode.ended_ns, episode.t_r_ns)):
                raise ValueError(f"episode {episode.id} has an impossible stamp")
        except ValueError as error:
            raise BagError(f"{self.folder}: {error}") from error
        if self.episode is None or episode.id == self.episode.id or episode.state == episodes.ACTIVE:
            self.episode = episode

    def ticks(self, fps: int) -> np.ndarray:
        """(T,) int64 ns. Raises BagError when no frame can be made."""
        acted = resample.stretches(self.timeline, self.end_ns)
        if not acted:
            modes = ", ".join(mode.name for mode in self.timeline.modes) or "none"
            raise BagError(f"the robot never acted in {self.folder}; its modes: {modes}")
        first = max(int(self.stamps[name].min()) for name in self.streams)
        spans = sorted(self._spans.values())
        for (_, last), (begin, _) in zip(spans, spans[1:]):
            acted = resample.without(acted, [(last + round(KEPT_S * 1e9), begin)])
            self._found([f"the recorder died and was back after {(begin - last) * 1e-9:.2f} s, which are missing"])
        for name in self.streams:
            stamps = np.sort(np.append(self.stamps[name], acted[-1][1]))
            gaps = resample.holes(stamps, round(LONGEST_GAP_S * 1e9), round(KEPT_S * 1e9))
            before, acted = acted, resample.without(acted, gaps)
            lost = sum(b - a for a, b in before) - sum(b - a for a, b in acted)
            if lost:
                self._found([f"{lost * 1e-9:.2f} s without any message of {name} are left out"])
        self.stretches = acted
        result = resample.ticks(acted, round(1e9 / fps), first)
        if not len(result):
            raise BagError(f"{self.folder}: shorter than one frame of 1/{fps} s")
        return result

    def frames(
        self, table: JointTable, fps: int, image_size: tuple[int, int] | Sizes | None = None
    ) -> tuple[EpisodeFrames, Quality]:
        """The episode at `fps`, with the cameras' own JPEGs (resized when image_size differs: (H, W) of each camera,
        see `lerobot_format.sizes_of`), and its quality.
        """
        sizes = sizes_of(image_size)
        at = self.ticks(fps)
        chosen, order = {}, {}
        for name in self.streams:
            # Reception order is all but sorted; a stable sort keeps the later of two equal stamps last.
            order[name] = np.argsort(self.stamps[name], kind="stable")
            # An action answers the observation: it is the command in force one period later.
            time = at + round(1e9 / fps) if name == COMMAND else at
            index = resample.last_before(self.stamps[name][order[name]], time)
            chosen[name] = order[name][index]
        decoded = self._decode(table, {name: set(index.tolist()) for name, index in chosen.items()})
        state = np.stack([decoded[STATE][i] for i in chosen[STATE].tolist()])
        action = np.stack([decoded[COMMAND][i] for i in chosen[COMMAND].tolist()])
        pictures: dict[str, RepeatedJpegs] = {}
        for view, camera in self.cameras.items():
            held = decoded[camera.topic].items()
            jpegs = {i: _resized(data, sizes.get(view)) for i, data in held}
            pictures[view] = RepeatedJpegs(jpegs, chosen[camera.topic])
        depth = {
            name: RepeatedJpegs(decoded[sensor.topic], chosen[sensor.topic])
            for name, sensor in self.sensors.depth.items()
        }
        tactile = {
            name: np.stack([decoded[sensor.topic][i] for i in chosen[sensor.topic].tolist()])
            for name, sensor in self.sensors.tactile.items()
        }
        modes = resample.modes_at(self.timeline, at)
        episode, complete = self.episode, self.episode.state == episodes.ENDED
        frames = EpisodeFrames(
            state,
            action,
            pictures[EGO] if pictures.keys() == {EGO} else pictures,
            stage=np.array([STAGE_OF[Mode(mode)] for mode in modes]),
            source=np.array([SOURCE_OF[Mode(mode)] for mode in modes]),
            mode=modes,
            task=episode.instruction or episode.task,
            outcome=int(episode.outcome),
            t_r=resample.first_with(modes, Mode.RECOVERY),
            takeover=resample.first_with(modes, Mode.ADAPTATION),
            episode_id=episode.id,
            kind=episode.kind,
            operator=episode.operator,
            start_stage=episode.start_stage,
            milestone=episode.milestone,
            excluded=not complete or episode.outcome in (Outcome.ABORTED, Outcome.NONE),
            started_ns=episode.started_ns,
            depth=depth,
            tactile=tactile,
        )
        quality = self._quality(table, frames, at, chosen, complete)
        frames.excluded = frames.excluded or quality.excluded
        return frames, quality

    def _decode(self, table: JointTable, wanted: dict[str, set[int]]) -> dict[str, dict[int, object]]:
        """The chosen messages of each stream by their number in the bag: (J,) and tactile arrays, bytes of JPEGs and
        PNGs.
        """
        readers: dict[str, Callable] = {name: messages.JointReader(table).position for name in (STATE, COMMAND)}
        readers |= {sensor.topic: png_of for sensor in self.sensors.depth.values()}
        readers |= {
            sensor.topic: functools.partial(tactile_of, size=sensor.size) for sensor in self.sensors.tactile.values()
        }
        counters = dict.fromkeys(self.streams, -1)
        result: dict[str, dict[int, object]] = {name: {} for name in self.streams}
        for message in self.messages(frozenset(self.streams)):
            name = message.topic
            counters[name] += 1
            if counters[name] not in wanted[name]:
                continue
            decoded = self.decode(message)
            read = readers.get(name, _data)
            try:
                result[name][counters[name]] = read(decoded)
            except (images.ImageError, TactileError) as error:
                raise BagError(f"{self.folder}: {name}: {error}") from error
        for name in (STATE, COMMAND):
            for q in result[name].values():
                if np.isnan(q).any():
                    missing = [table.names[i] for i in np.flatnonzero(np.isnan(q))[:3]]
                    raise BagError(f"{self.folder}: {name} lacks joints, e.g. {', '.join(missing)}")
        return result

    def _quality(
        self, table: JointTable, frames: EpisodeFrames, at: np.ndarray, chosen: dict[str, np.ndarray], complete: bool
    ) -> Quality:
        return assess(
            table=table,
            state=frames.state,
            action=frames.action,
            mode=frames.mode,
            pictures={
                **{self.cameras[name].topic: seen for name, seen in frames.pictures.items()},
                **{self.sensors.depth[name].topic: seen for name, seen in frames.depth.items()},
            },
            sensor_hz={
                sensor.topic: sensor.rate_hz for sensor in (*self.cameras.values(), *self.sensors.by_name.values())
            },
            at_ns=at,
            stretches=self.stretches,
            stamps={name: np.sort(self.stamps[name]) for name in self.streams},
            ages_s={name: (at - self.stamps[name][chosen[name]]) * 1e-9 for name in self.streams},
            complete=complete,
            problems=self.problems,
            recorded=self.recorded,
        )


def _data(message) -> bytes:
    return bytes(message.data)


class RepeatedJpegs(Sequence):
    """T JPEGs or PNGs of which neighbours may be the same one: held once."""

    def __init__(self, jpegs: dict[int, bytes], index: np.ndarray):
        self._jpegs, self._index = jpegs, index.tolist()

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i):
        return self._jpegs[self._index[i]]


def _custom(folder: Path) -> dict[str, str]:
    """What the recorder noted about a bag; {} of one that could not be repaired where it is."""
    try:
        return read_metadata(folder)["custom_data"] or {}
    except BagError:
        return {}


def _resized(jpeg: bytes, size: tuple[int, int] | None) -> bytes:
    """The same bytes when the picture has the size already, else a JPEG of the new (H, W)."""
    if size is None:
        return jpeg
    if images.declared_size(jpeg) == size:
        return jpeg
    return images.encode_jpeg(images.resize(images.decode(jpeg), size), 95)


def picture_size(folder: Path, topic: str = IMAGE) -> tuple[int, int]:
    """(H, W) of the first picture of a camera in a bag. Raises BagError when there is none."""
    for path in files_of(Path(folder)):
        for message in McapStream(path).messages(frozenset([topic])):
            decoded = typestore().deserialize_cdr(message.data, topics.EGO_IMAGE.type)
            return images.declared_size(decoded.data)
    raise BagError(f"{folder} has no message on {topic}")
