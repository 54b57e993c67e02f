# SPDX-License-Identifier: Apache-2.0
"""What the open pages of a web server get: every answer, but only the newest text and the newest picture.

A text or a picture is sent when the client has acknowledged the one before the last. A slow client therefore gets
fewer, never older ones, nothing piles up for it in any buffer, and no other client waits for it. No aiohttp here: `ws`
is what has its send_str and send_bytes.

Binary picture: little-endian uint32 number, float64 stamp of the picture in unix s, then the JPEG. The upper 4 bits of
the number say which camera it is from; cameras are counted, sent and acknowledged each for itself.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import defaultdict, deque
from typing import Any

PICTURE = struct.Struct("<Id")
CAMERA_BIT = 28
NUMBERS = (1 << CAMERA_BIT) - 1  # at 60 pictures a second they begin anew after 51 days
IN_FLIGHT = 2  # one on the wire while one is shown
ACK_LOST_S = 1.0  # after this a client that forgot to acknowledge gets the next one all the same
ANSWERS = 64  # that wait for a client; a client that asks without reading loses the oldest


class Feed:
    """The newest text and the newest picture of each camera, numbered from 1. `show` may be called from any thread, the
    rest in the loop's.
    """

    def __init__(self) -> None:
        self.text: tuple[int, str] = (0, "")
        self.pictures: dict[int, tuple[int, bytes]] = {}  # by the number of the camera
        self.clients: set[Client] = set()
        self.pictures_sent = 0  # to all clients together

    def say(self, text: str) -> None:
        """Newest text; replaces the one before, sent or not."""
        self.text = (self.text[0] + 1, text)
        self.wake()

    def show(self, jpeg: bytes, stamp_s: float, camera: int = 0) -> int:
        """Newest picture of a camera, 0 to 15 -> its number; `wake` sends it."""
        number = self.pictures.get(camera, (0, b""))[0] + 1
        self.pictures[camera] = (number, PICTURE.pack(camera << CAMERA_BIT | number & NUMBERS, stamp_s) + jpeg)
        return number

    def wake(self) -> None:
        """Let every client look for what is new."""
        for client in self.clients:
            client.wake.set()


class Window:
    """What one client has been sent of one numbered kind. acknowledged: the client confirms; without that the newest
    always goes.
    """

    def __init__(self, acknowledged: bool = True):
        self.sent = self.acked = 0
        self._acknowledged, self._sent_at = acknowledged, 0.0

    def has_room(self, now: float) -> bool:
        return not self._acknowledged or self.sent - self.acked < IN_FLIGHT or now - self._sent_at > ACK_LOST_S

    def wants(self, number: int, now: float) -> bool:
        return number > self.sent and self.has_room(now)

    def mark(self, number: int, now: float) -> None:
        self.sent, self._sent_at = number, now

    def acknowledge(self, number: int) -> None:
        self.acked = max(self.acked, min(number, self.sent))


class Client:
    """One connection of a page or a console. texts_acknowledged: it confirms texts as it confirms pictures. pictures:
    it wants them.
    """

    def __init__(
        self, feed: Feed, ws: Any, name: str, *, texts_acknowledged: bool = True, pictures: bool = True
    ) -> None:
        self.feed, self.ws, self.name, self.pictures = feed, ws, name, pictures
        self.wake = asyncio.Event()
        self.wake.set()
        self.texts, self.shown = Window(texts_acknowledged), defaultdict[int, Window](Window)  # shown: by camera
        self._answers: deque[str] = deque(maxlen=ANSWERS)

    def answer(self, text: str) -> None:
        self._answers.append(text)
        self.wake.set()

    def acknowledge_text(self, number: int) -> None:
        self.texts.acknowledge(number)
        self.wake.set()

    def acknowledge_picture(self, number: int) -> None:
        self.shown[number >> CAMERA_BIT & 15].acknowledge(number & NUMBERS)
        self.wake.set()

    async def send(self) -> None:
        """Run beside the reading side, which cancels this when the client is gone."""
        try:
            while not self.ws.closed:
                await self.wake.wait()
                self.wake.clear()
                number, text = self.feed.text
                if self.texts.wants(number, time.monotonic()):  # before the answers: it is what the person waits for
                    self.texts.mark(number, time.monotonic())
                    await self.ws.send_str(text)
                while self._answers:
                    await self.ws.send_str(self._answers.popleft())
                for camera, (number, picture) in list(self.feed.pictures.items()) if self.pictures else []:
                    if self.shown[camera].wants(number, time.monotonic()):
                        self.shown[camera].mark(number, time.monotonic())
                        self.feed.pictures_sent += 1
                        await self.ws.send_bytes(picture)
        except ConnectionError:
            pass  # the reading side sees it too
