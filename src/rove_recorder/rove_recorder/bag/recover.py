# SPDX-License-Identifier: Apache-2.0
"""Repairs a bag that a killed recorder, a power cut or a full disk left behind: index, statistics and metadata.yaml;
says what was lost.

    rove run rove_recorder recover PATH...

PATH: a bag directory, or a folder of bags. Complete bags are left alone. A damaged file is copied message by message
into a new one, which then takes its place.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import tyro
import yaml
from mcap.writer import CompressionType, Writer

from rove_contract.files import replaced
from rove_recorder.bag import bag as bags
from rove_recorder.bag.bag import BagError, BagInfo, BagTopic, FileInfo
from rove_recorder.bag.mcap_stream import McapStream, is_complete
from rove_recorder.bag.recording import CHECKPOINT_S
from rove_recorder.bag.schema import OfferedQos

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser is ten times as fast, where it is there
DEEPEST = 200  # brackets; metadata.yaml has three levels, and JSON texts within it a few
UNREADABLE = (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)
LARGEST_METADATA = 16 * 2**20  # bytes; a bag of hours has some 10 kB


class Unrepaired(BagError):
    """A bag cannot be repaired where it is, though what is in it can be read."""


@dataclass
class Recovery:
    """What `recover` found and did. messages: in the bag now, the last of them at until_ns (ns since the epoch).
    lost_bytes: unreadable. problems: sentences. What had been received but not yet written left no trace; the recorder
    writes every CHECKPOINT_S."""

    folder: Path
    repaired: bool
    messages: int
    lost_bytes: int = 0
    until_ns: int = 0
    problems: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        if not self.repaired:
            return f"{self.folder}: complete, {self.messages} messages"
        if not self.messages:
            return f"{self.folder}: repaired, but nothing was on the disk yet"
        until = datetime.fromtimestamp(self.until_ns * 1e-9, UTC).isoformat(timespec="milliseconds")
        return (
            f"{self.folder}: repaired, {self.messages} messages until {until}; lost: {self.lost_bytes} unreadable "
            f"bytes, and what came "
            f"within the last {CHECKPOINT_S:g} s before the recorder died, which was not yet on the disk"
        )


def find_bags(paths: list[Path]) -> list[Path]:
    """Bag directories given directly, by a file in them, or below a folder; sorted, each once. Raises BagError where
    there is none.
    """
    if not paths:
        raise BagError("no bags were given; name bag directories or a folder of them")
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_file() and path.suffix == ".mcap":
            hits = [path.parent]
        else:
            hits = sorted({file.parent for file in path.rglob("*.mcap") if not file.name.startswith(".")})
        if not hits:
            raise BagError(f"{path} holds no bag (a folder with .mcap files)")
        found |= dict.fromkeys(hits)
    return list(found)


def files_of(folder: Path) -> list[Path]:
    """The bag's files in the order in which they were written; a copy that `recover` did not finish is none."""

    def number(path: Path):
        tail = path.stem.rpartition("_")[2]
        return (int(tail) if tail.isdigit() else 0, path.name)

    return sorted((path for path in folder.glob("*.mcap") if not path.name.startswith(".")), key=number)


def needs_recovery(folder: Path) -> bool:
    """True when the bag was not closed properly."""
    return not (folder / "metadata.yaml").is_file() or not all(is_complete(path) for path in files_of(folder))


def read_metadata(folder: Path) -> dict:
    """Content of metadata.yaml; custom_data are texts by name. Raises BagError when it is not one."""
    path = Path(folder) / "metadata.yaml"
    try:
        if path.stat().st_size > LARGEST_METADATA:
            raise ValueError(f"it has {path.stat().st_size} bytes, at most {LARGEST_METADATA} are read")
        info = _yaml(path.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        custom = info.get("custom_data") or {}
        if not isinstance(custom, dict) or not all(isinstance(x, str) for x in [*custom, *custom.values()]):
            raise ValueError("its custom_data are no texts by name")
        return info | {"custom_data": custom, "message_count": int(info["message_count"])}
    except UNREADABLE as error:
        raise BagError(f"{path} is not readable ({error}); remove it and run recover") from error


def _yaml(text: str):
    """YAML without aliases, of which a kilobyte can stand for gigabytes, and without deep nesting, which takes libyaml
    time that grows with its square. Raises yaml.YAMLError.
    """
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise yaml.YAMLError(f"its brackets are nested more than {DEEPEST} deep")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, YAML)):
        raise yaml.YAMLError("it holds an alias, which rosbag2 never writes")
    return yaml.load(text, YAML)


def recover(folder: Path) -> Recovery:
    """Repair one bag in place; harmless on a complete one. Raises BagError when it is being recorded or holds no
    file.
    """
    folder = Path(folder)
    files = files_of(folder)
    if not files:
        raise BagError(f"{folder} holds no .mcap file")
    if not needs_recovery(folder):
        return Recovery(folder, False, read_metadata(folder)["message_count"])
    result = Recovery(folder, True, 0)
    info = BagInfo([], {})
    for path in files:
        _recover_file(path, info, result)
    if info.clock:
        info.custom["clock"] = json.dumps(info.clock)
    result.messages = sum(info.counts.values())
    result.until_ns = max((file.end_ns for file in info.files if file.messages), default=0)
    info.custom["recovered"] = json.dumps(
        {"until_ns": result.until_ns, "lost_bytes": result.lost_bytes, "problems": result.problems}
    )
    bags.write_metadata(folder, info)
    return result


def _recover_file(path: Path, info: BagInfo, result: Recovery) -> None:
    file = FileInfo(path.name)
    info.files.append(file)
    with open(path, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BagError(f"{path} is being recorded right now; wait for the episode's end") from None
        size = path.stat().st_size
        source = McapStream(path)
        if is_complete(path):
            for message in source.messages():
                file.saw(message.log_ns)
                info.counts[message.topic] = info.counts.get(message.topic, 0) + 1
        else:
            _copy(source, file, info)
    result.lost_bytes += size - source.good_bytes
    result.problems += [f"{path.name} {problem}" for problem in source.problems]
    for record in source.metadata:
        if record.name == bags.PROVENANCE:
            info.custom |= record.metadata
        elif record.name == bags.CLOCK:
            with contextlib.suppress(KeyError, ValueError):  # damaged; the bag is as good as one without the note
                info.clock.append([int(record.metadata["system_ns"]), int(record.metadata["steady_ns"])])
    known = {topic.name for topic in info.topics}
    for channel in source.channels.values():
        if channel.topic not in known:
            if channel.schema_id not in source.schemas:
                result.problems.append(f"{path.name}: {channel.topic} has no schema; its type is unknown")
                continue
            info.topics.append(BagTopic(channel.topic, source.schemas[channel.schema_id].name, _qos(channel.metadata)))
            info.counts.setdefault(channel.topic, 0)


def _copy(source: McapStream, file: FileInfo, info: BagInfo) -> None:
    """Every readable message into a new file with an index, which then replaces the damaged one."""
    try:
        with replaced(source.path) as new:
            _write_copy(source, file, info, new)
    except OSError as error:
        size = source.path.stat().st_size / 1e6
        raise Unrepaired(
            f"{source.path} cannot be repaired where it is ({error.strerror}): that takes {size:.1f} MB beside it. "
            f"Nothing was changed; "
            "`export` reads the bag as it is, or copy it elsewhere and recover it there"
        ) from error


def _write_copy(source: McapStream, file: FileInfo, info: BagInfo, new: Path) -> None:
    channels: dict[str, int] = {}
    schemas: dict[int, int] = {}
    with new.open("wb") as stream:
        writer = Writer(stream, chunk_size=bags.CHUNK_BYTES, compression=CompressionType.ZSTD)
        writer.start(profile=bags.PROFILE, library="rove_recorder recover")

        def register():
            for channel in source.channels.values():
                if channel.topic in channels:
                    continue
                schema = source.schemas.get(channel.schema_id)
                if schema is None:
                    schemas[channel.schema_id] = 0  # none, in MCAP's words: its messages stay, their type is unknown
                elif channel.schema_id not in schemas:
                    schemas[channel.schema_id] = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(
                    channel.topic, channel.message_encoding, schemas[channel.schema_id], channel.metadata
                )

        for message in source.messages():
            if message.topic not in channels:
                register()
            writer.add_message(
                channels[message.topic], message.log_ns, bytes(message.data), message.publish_ns, message.sequence
            )
            file.saw(message.log_ns)
            info.counts[message.topic] = info.counts.get(message.topic, 0) + 1
        register()
        for record in source.metadata:
            writer.add_metadata(record.name, record.metadata)
        writer.finish()


def _qos(metadata: dict[str, str]) -> tuple[OfferedQos, ...]:
    """What a channel says of its publishers' QoS; () where that cannot be read."""
    try:
        return tuple(map(OfferedQos.of_dict, _yaml(metadata.get("offered_qos_profiles", "") or "[]")))
    except UNREADABLE:
        return ()


def run(paths: tyro.conf.Positional[tuple[Path, ...]]) -> int:
    """Repair bags that were not closed properly, and say what was lost.

    Args:
        paths: bag directories, or folders that hold bags.
    """
    failed = 0
    try:
        folders = find_bags(list(paths))
    except BagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for folder in folders:
        try:
            result = recover(folder)
        except (BagError, OSError, ValueError) as error:
            failed += 1
            print(f"error: {folder}: {error}", file=sys.stderr)
            continue
        print(result.sentence())
        for problem in result.problems:
            print(f"  {problem}")
    return 1 if failed else 0


def main() -> int:
    return tyro.cli(run)


if __name__ == "__main__":
    sys.exit(main())
