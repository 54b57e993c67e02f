# SPDX-License-Identifier: Apache-2.0
"""Reads MCAP files from the front, record by record, whole or truncated: what a killed recorder left is readable up to
its last chunk.

Seeking readers need the index at the end. This one does not, and says what it could not read. Messages come in file
order.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Metadata, Schema
from mcap.writer import MCAP0_MAGIC

HEAD = struct.Struct("<BQ")  # opcode, length of the record
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
KNOWN = frozenset(int(opcode) for opcode in Opcode)


LARGEST_CHUNK = 256 * 2**20  # bytes; rosbag2's default is 0.8 MB, ours 4 MB and what one batch adds
LATEST_NS = 2**62  # a stamp in the year 2116
MOST_PROBLEMS = 20  # sentences about one file
# What the records of a damaged file lead to in the parsers: too short, no UTF-8, a length beyond the end.
DAMAGE = (
    struct.error,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    RuntimeError,
    McapError,
    zstandard.ZstdError,
)


class NotMcap(ValueError):
    """The file does not begin as an MCAP file does."""


class Message(NamedTuple):
    """One message; log_ns, publish_ns: ns since the epoch; data: CDR."""

    topic: str
    log_ns: int
    publish_ns: int
    sequence: int
    data: memoryview


class McapStream:
    """One file. After `messages` ran to its end: schemas, channels and metadata by id or in order, `complete` (footer
    seen), `good_bytes` (readable from the front), `problems` (sentences)."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.metadata: list[Metadata] = []
        self.complete = False
        self.good_bytes = 0
        self.problems: list[str] = []

    def messages(self, wanted: frozenset[str] | None = None) -> Iterator[Message]:
        """All messages, or those of the `wanted` topics. Raises NotMcap; any later damage ends up in `problems`."""
        size = self.path.stat().st_size
        with open(self.path, "rb") as stream:
            magic = stream.read(8)
            if len(magic) < 8 and MCAP0_MAGIC.startswith(magic):  # killed before its first byte reached the disk
                self.problems.append("is empty")
                return
            if magic != MCAP0_MAGIC:
                raise NotMcap(f"{self.path} is no MCAP file (its first 8 bytes are not the magic number)")
            self.good_bytes = 8
            while True:
                head = stream.read(HEAD.size)
                if len(head) < HEAD.size:
                    self.problems.append(f"ends without a footer after {self.good_bytes} bytes")
                    return
                opcode, length = HEAD.unpack(head)
                if opcode not in KNOWN or self.good_bytes + HEAD.size + length > size:
                    self.problems.append(f"is cut off or damaged from byte {self.good_bytes} of {size} on")
                    return
                body = stream.read(length)
                if opcode == Opcode.CHUNK:
                    yield from self._chunk(body, wanted)
                elif opcode == Opcode.FOOTER:
                    self.complete = stream.read(8) == MCAP0_MAGIC
                    if not self.complete:
                        self.problems.append("ends without the closing magic number")
                    self.good_bytes += HEAD.size + length + 8
                    return
                else:
                    message = self._record(opcode, memoryview(body), wanted)
                    if message is not None:
                        yield message
                self.good_bytes += HEAD.size + length

    def _chunk(self, body: bytes, wanted: frozenset[str] | None) -> Iterator[Message]:
        try:
            chunk = Chunk.read(ReadDataStream(BytesIO(body)))
            data = _decompressed(chunk)
        except DAMAGE as error:
            self.problems.append(f"the chunk at byte {self.good_bytes} cannot be decompressed ({error}); skipped")
            return
        if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
            self.problems.append(f"the chunk at byte {self.good_bytes} has a wrong checksum; skipped")
            return
        view, position, end = memoryview(data), 0, len(data)
        while position + HEAD.size <= end:
            opcode, length = HEAD.unpack_from(view, position)
            position += HEAD.size
            if position + length > end:
                self.problems.append(f"the chunk at byte {self.good_bytes} ends within a record; the rest is skipped")
                return
            message = self._record(opcode, view[position : position + length], wanted)
            if message is not None:
                yield message
            position += length

    def _record(self, opcode: int, body: memoryview, wanted: frozenset[str] | None) -> Message | None:
        try:
            return self._parsed(opcode, body, wanted)
        except DAMAGE as error:
            self._skip(f"a damaged record ({error})")
            return None

    def _parsed(self, opcode: int, body: memoryview, wanted: frozenset[str] | None) -> Message | None:
        if opcode == Opcode.MESSAGE:
            channel_id, sequence, log_ns, publish_ns = MESSAGE.unpack_from(body)
            channel = self.channels.get(channel_id)
            if channel is None:
                self._skip(f"a message of the unknown channel {channel_id}")
            elif max(log_ns, publish_ns) >= LATEST_NS:
                self._skip(f"a message with the impossible stamp {max(log_ns, publish_ns)} ns")
            elif wanted is None or channel.topic in wanted:
                return Message(channel.topic, log_ns, publish_ns, sequence, body[MESSAGE.size :])
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(ReadDataStream(BytesIO(body)))
            self.channels[channel.id] = channel
        elif opcode == Opcode.SCHEMA:
            schema = Schema.read(ReadDataStream(BytesIO(body)))
            self.schemas[schema.id] = schema
        elif opcode == Opcode.METADATA:
            self.metadata.append(Metadata.read(ReadDataStream(BytesIO(body))))
        return None

    def _skip(self, what: str) -> None:
        """Of many problems the first ones are enough; a file can hold millions."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{what} at byte {self.good_bytes}; skipped")


def _decompressed(chunk: Chunk) -> bytes:
    """The records of a chunk. Raises ValueError before anything is decompressed to more than LARGEST_CHUNK bytes."""
    size = chunk.uncompressed_size
    if size > LARGEST_CHUNK:
        raise ValueError(f"it declares {size} bytes, at most {LARGEST_CHUNK} are read")
    if chunk.compression == "zstd":
        declared = zstandard.frame_content_size(chunk.data)
        if declared > size:
            raise ValueError(f"it declares {size} bytes and its content {declared}")
        return zstandard.ZstdDecompressor().decompress(chunk.data, max_output_size=size)
    if chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
        if len(data) != size:
            raise ValueError(f"it declares {size} bytes and holds {'more' if len(data) > size else len(data)}")
        return data
    if chunk.compression:
        raise ValueError(f"unknown compression {chunk.compression!r}")
    return chunk.data


def is_complete(path: Path) -> bool:
    """Whether the file ends as a closed MCAP file does; reads its last 8 bytes."""
    with open(path, "rb") as stream:
        stream.seek(0, 2)
        if stream.tell() < 16:
            return False
        stream.seek(-8, 2)
        return stream.read(8) == MCAP0_MAGIC
