# SPDX-License-Identifier: Apache-2.0
"""Writes rosbag2 directories (metadata v9, MCAP, profile "ros2") that survive a crash.

Every MCAP file is complete up to its last closed chunk: `flush` closes it, `sync` brings it to the disk. Topics stand
in the first chunk of every file, and the provenance known at the start in a metadata record before it, so that
`recover` can rebuild what a killed writer never wrote: index, statistics and metadata.yaml.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import yaml
from mcap.writer import CompressionType, Writer

from rove_contract import files, topics
from rove_contract.files import sync
from rove_recorder.bag.schema import OfferedQos, qos_dict, qos_yaml, schema

PROFILE = "ros2"
DISTRO = "jazzy"
PROVENANCE = "rove"  # name of the MCAP metadata record
CLOCK = "rove_clock"  # name of the records that compare the system clock with the steady one
COMPRESSION = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4, "none": CompressionType.NONE}
CHUNK_BYTES = 4 * 2**20  # a second of camera at 30 Hz and 100 kB is 3 MB: time closes the chunk first
SPLIT_BYTES = 4 * 2**30


class BagError(RuntimeError):
    """A bag cannot be written or read; the message says which and why."""


@dataclass(frozen=True)
class BagTopic:
    """One recorded topic. qos: what its publishers offer, each kind once. latched: its last message is state that holds
    until the next one, so it stands at the beginning of every bag.
    """

    name: str
    type: str
    qos: tuple[OfferedQos, ...] = ()
    latched: bool = False

    @classmethod
    def of(cls, topic: topics.Topic) -> BagTopic:
        """With what the contract says of its publisher."""
        offered = OfferedQos.of(topic.offered or topic.qos)
        return cls(topic.name, topic.type, (offered,), topic.qos.durability == "transient_local")


@dataclass
class FileInfo:
    """What metadata.yaml says about one file; ns since the epoch."""

    name: str
    start_ns: int = 0
    end_ns: int = 0
    messages: int = 0

    def saw(self, log_ns: int) -> None:
        self.start_ns = log_ns if not self.messages else min(self.start_ns, log_ns)
        self.end_ns = max(self.end_ns, log_ns)
        self.messages += 1


@dataclass
class BagInfo:
    """Content of metadata.yaml."""

    topics: list[BagTopic]
    counts: dict[str, int]
    files: list[FileInfo] = field(default_factory=list)
    custom: dict[str, str] = field(default_factory=dict)
    clock: list[list[int]] = field(default_factory=list)  # [system, steady] ns, see BagWriter.note_clock

    def to_dict(self) -> dict:
        used = [file for file in self.files if file.messages]
        start = min((file.start_ns for file in used), default=0)
        end = max((file.end_ns for file in used), default=0)
        return {
            "version": 9,
            "storage_identifier": "mcap",
            "duration": {"nanoseconds": end - start},
            "starting_time": {"nanoseconds_since_epoch": start},
            "message_count": sum(self.counts.values()),
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.type,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": [qos_dict(qos) for qos in topic.qos],
                        "type_description_hash": schema(topic.type).type_hash,
                    },
                    "message_count": self.counts.get(topic.name, 0),
                }
                for topic in self.topics
            ],
            "compression_format": "",  # rosbag2's own; MCAP compresses its chunks
            "compression_mode": "",
            "relative_file_paths": [file.name for file in self.files],
            "files": [
                {
                    "path": file.name,
                    "starting_time": {"nanoseconds_since_epoch": file.start_ns},
                    "duration": {"nanoseconds": file.end_ns - file.start_ns},
                    "message_count": file.messages,
                }
                for file in self.files
            ],
            "custom_data": dict(self.custom),
            "ros_distro": DISTRO,
        }


def write_metadata(folder: Path, info: BagInfo) -> None:
    """metadata.yaml, atomically; a bag that has it was closed properly."""
    text = yaml.safe_dump({"rosbag2_bagfile_information": info.to_dict()}, sort_keys=False, allow_unicode=True)
    files.write(folder / "metadata.yaml", text)


def custom_strings(custom: Mapping[str, object]) -> dict[str, str]:
    """custom_data holds strings only: numbers and mappings become JSON."""
    return {
        str(key): value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in custom.items()
    }


class BagWriter:
    """One bag directory, written by one thread. Raises BagError when `folder` exists, OSError on disk errors.

    name: file stem. custom: provenance known now; more can be given to `close`. split_bytes: a new file is begun at
    this size.
    """

    def __init__(
        self,
        folder: Path,
        bag_topics: Iterable[BagTopic],
        custom: Mapping[str, object] = MappingProxyType({}),
        *,
        name: str = "",
        compression: str = "zstd",
        split_bytes: int = SPLIT_BYTES,
    ):
        if compression not in COMPRESSION:
            raise BagError(f"compression is {compression!r}, expected one of {', '.join(COMPRESSION)}")
        self.folder = Path(folder)
        self.name = name or self.folder.name
        bag_topics = list(bag_topics)
        for topic in bag_topics:
            schema(topic.type)  # an unknown type is refused before anything is on disk
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            raise BagError(f"{self.folder} exists already; a bag is never overwritten") from None
        self.info = BagInfo(bag_topics, {topic.name: 0 for topic in bag_topics}, custom=custom_strings(dict(custom)))
        self._compression = COMPRESSION[compression]
        self._split_bytes = split_bytes
        self._writer: Writer | None = None
        self._syncing = threading.Lock()  # a file is not closed while it is synced
        self._open()

    def _open(self) -> None:
        file = FileInfo(f"{self.name}_{len(self.info.files)}.mcap")
        self._stream = files.open_new(self.folder / file.name)
        # Tells `recover` that the bag is alive; the kernel frees it whatever kills this process.
        fcntl.flock(self._stream, fcntl.LOCK_EX)
        self._writer = Writer(self._stream, chunk_size=CHUNK_BYTES, compression=self._compression)
        self._writer.start(profile=PROFILE, library="rove_recorder")
        # Before the first chunk, so that it is there whatever happens later.
        self._writer.add_metadata(PROVENANCE, self.info.custom)
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self.info.files.append(file)
        self._new_file = True  # its name is not on the disk yet
        self._stream.flush()
        for topic in self.info.topics:
            self._register(topic)

    def _register(self, topic: BagTopic) -> None:
        known = schema(topic.type)
        if topic.type not in self._schemas:
            self._schemas[topic.type] = self._writer.register_schema(topic.type, "ros2msg", known.definition)
        self._channels[topic.name] = self._writer.register_channel(
            topic.name,
            "cdr",
            self._schemas[topic.type],
            {
                "offered_qos_profiles": qos_yaml([qos_dict(qos) for qos in topic.qos]),
                "topic_type_hash": known.type_hash,
            },
        )

    def add_topic(self, topic: BagTopic) -> None:
        """A topic that was discovered while recording. Raises schema.UnknownType."""
        if topic.name in self.info.counts:
            return
        schema(topic.type)
        self.info.topics.append(topic)
        self.info.counts[topic.name] = 0
        self._register(topic)

    def add_offered(self, name: str, offered: Iterable[OfferedQos]) -> None:
        """Publishers of a topic that came while recording. metadata.yaml and the next file will have them; what stands
        in this file cannot change any more.
        """
        for i, topic in enumerate(self.info.topics):
            if topic.name == name:
                self.info.topics[i] = replace(topic, qos=tuple(dict.fromkeys([*topic.qos, *offered])))

    def write(self, topic: str, log_ns: int, publish_ns: int, data: bytes, sequence: int = 0) -> None:
        """One CDR message. log_ns: reception, publish_ns: publication, both ns since the epoch; sequence: the
        publisher's counter.
        """
        self._writer.add_message(self._channels[topic], log_ns, data, publish_ns, sequence)
        self.info.files[-1].saw(log_ns)
        self.info.counts[topic] += 1

    def note_clock(self, system_ns: int, steady_ns: int) -> None:
        """The two clocks at one moment: at the start, and whenever the system clock was set. What was written before
        this was stamped before it.
        """
        self.info.clock.append([system_ns, steady_ns])
        self._writer.flush()  # records of this kind stand outside the chunks
        self._writer.add_metadata(CLOCK, {"system_ns": str(system_ns), "steady_ns": str(steady_ns)})

    def flush(self) -> None:
        """Close the chunk and hand it to the kernel: a kill of this process cannot take it any more. Begins a new file
        at split_bytes.
        """
        self._writer.flush()
        if self._stream.tell() >= self._split_bytes:
            self._finish()
            self._open()

    def sync(self) -> None:
        """Bring what was flushed to the disk: a power cut cannot take it any more. May be called by another thread than
        the writing one.
        """
        with self._syncing:
            if not self._stream.closed:
                os.fsync(self._stream.fileno())
            if self._new_file:
                sync(self.folder)
                sync(self.folder.parent)
                self._new_file = False

    def checkpoint(self) -> None:
        """`flush` and `sync`."""
        self.flush()
        self.sync()

    def _finish(self) -> None:
        self._writer.finish()
        self._stream.flush()
        with self._syncing:
            os.fsync(self._stream.fileno())
            self._stream.close()

    def close(self, custom: Mapping[str, object] = MappingProxyType({})) -> BagInfo:
        """Write the index and metadata.yaml; `custom` joins the provenance. Raises OSError: then the bag is not
        complete.
        """
        clock = {"clock": json.dumps(self.info.clock)} if self.info.clock else {}
        self.info.custom |= custom_strings({**clock, **dict(custom)})
        self._writer.add_metadata(PROVENANCE, self.info.custom)
        text = yaml.safe_dump(self.info.to_dict(), sort_keys=False, allow_unicode=True)
        self._writer.add_metadata("rosbag2", {"serialized_metadata": text, "ROS_DISTRO": DISTRO})
        self._finish()
        write_metadata(self.folder, self.info)
        return self.info

    def abandon(self) -> None:
        """Close the file without index, after an error; `recover` can repair what is on disk."""
        if not self._stream.closed:
            with (
                self._syncing,
                contextlib.suppress(OSError),
            ):  # the disk's error was reported when it first happened; the buffer is lost
                self._stream.close()
