# SPDX-License-Identifier: Apache-2.0
"""A live page of a web server: its files, and what its open pages get: every answer, but only the newest text and the
newest picture.

A text or a picture is sent when the page has acknowledged the one before the last. A slow page therefore gets fewer,
never older ones, nothing piles up for it in any buffer, and no other page waits for it. No aiohttp here: `ws` is what
has its send_str and send_bytes.

Binary picture: little-endian uint32 number, float64 stamp of the picture in unix s, then the JPEG.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from importlib import resources

PICTURE = struct.Struct("<Id")
IN_FLIGHT = 2  # one on the wire while one is shown
ACK_LOST_S = 1.0  # after this a page that forgot to acknowledge gets the next one all the same
ANSWERS = 64  # that wait for a page; a page that asks without reading loses the oldest
# Not from the system's MIME table: a module script with another type is refused by browsers.
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def read_files(package: str, folder: str) -> dict[str, tuple[str, bytes]]:
    """name -> (content type, bytes) of the files in `folder` of an installed package."""
    found = {}
    for entry in (resources.files(package) / folder).iterdir():
        suffix = entry.name.rpartition(".")[2]
        if suffix in TYPES:
            found[entry.name] = (TYPES[suffix], entry.read_bytes())
    return found


class Feed:
    """The newest text and the newest picture, numbered from 1. `show` may be called from any thread, the rest in the
    loop's.
    """

    def __init__(self):
        self.text: tuple[int, str] = (0, "")
        self.picture: tuple[int, bytes] = (0, b"")
        self.pages: set[Page] = set()
        self.pictures_sent = 0  # to all pages together

    def say(self, text: str) -> None:
        """Newest text; replaces the one before, sent or not."""
        self.text = (self.text[0] + 1, text)
        self.wake()

    def show(self, jpeg: bytes, stamp_s: float) -> None:
        """Newest picture; `wake` sends it."""
        number = self.picture[0] + 1
        self.picture = (number, PICTURE.pack(number & 0xFFFFFFFF, stamp_s) + jpeg)

    def wake(self) -> None:
        for page in self.pages:
            page.wake.set()


class Window:
    """What one page has been sent of one numbered kind. acknowledged: the page confirms; without that the newest always
    goes.
    """

    def __init__(self, acknowledged: bool = True):
        self.sent = self.acked = 0
        self._acknowledged, self._sent_at = acknowledged, 0.0

    def wants(self, number: int, now: float) -> bool:
        free = not self._acknowledged or self.sent - self.acked < IN_FLIGHT or now - self._sent_at > ACK_LOST_S
        return number > self.sent and free

    def mark(self, number: int, now: float) -> None:
        self.sent, self._sent_at = number, now

    def acknowledge(self, number: int) -> None:
        self.acked = max(self.acked, min(number, self.sent))


class Page:
    """One open page. texts_acknowledged: it confirms texts as it confirms pictures. pictures: it wants them."""

    def __init__(self, feed: Feed, ws, name: str, *, texts_acknowledged: bool = True, pictures: bool = True):
        self.feed, self.ws, self.name, self.pictures = feed, ws, name, pictures
        self.wake = asyncio.Event()
        self.wake.set()
        self.texts, self.shown = Window(texts_acknowledged), Window()
        self._answers: deque[str] = deque(maxlen=ANSWERS)

    def answer(self, text: str) -> None:
        self._answers.append(text)
        self.wake.set()

    def acknowledge_text(self, number: int) -> None:
        self.texts.acknowledge(number)
        self.wake.set()

    def acknowledge_picture(self, number: int) -> None:
        self.shown.acknowledge(number)
        self.wake.set()

    async def send(self) -> None:
        """Run beside the reading side, which cancels this when the page is gone."""
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
                number, picture = self.feed.picture
                if self.pictures and self.shown.wants(number, time.monotonic()):
                    self.shown.mark(number, time.monotonic())
                    self.feed.pictures_sent += 1
                    await self.ws.send_bytes(picture)
        except ConnectionError:
            pass  # the reading side sees it too
