# SPDX-License-Identifier: Apache-2.0
"""What a page gets: the newest text and picture only, whatever it does; a page that stands still costs nobody
anything.
"""

import asyncio
import json

import pytest

from rove_contract.web import feed as feed_module
from rove_contract.web.feed import ANSWERS, IN_FLIGHT, PICTURE, Client, Feed


class Socket:
    """Remembers what was sent; open.clear() makes it a client that does not read."""

    def __init__(self):
        self.closed, self.sent, self.open = False, [], asyncio.Event()
        self.open.set()

    async def send_str(self, text):
        await self.open.wait()
        self.sent.append(text)

    async def send_bytes(self, data):
        await self.open.wait()
        self.sent.append(PICTURE.unpack_from(data) + (data[PICTURE.size :],))


def scenario(story):
    """Run story(feed, open) where open(**options) -> a page with a Socket."""

    async def run():
        feed, tasks = Feed(), []

        def opened(**options):
            page = Client(feed, Socket(), "page", **options)
            feed.clients.add(page)
            tasks.append(asyncio.ensure_future(page.send()))
            return page

        try:
            await story(feed, opened)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def show(feed, *pictures):
    for picture in pictures:
        feed.show(picture, 1.5)
        feed.wake()
        await settle()


def test_a_picture_goes_out_when_the_one_before_the_last_was_acknowledged_and_then_the_newest():
    async def story(feed, opened):
        page = opened()
        await show(feed, b"a", b"b", b"c", b"d")
        assert page.ws.sent == [(1, 1.5, b"a"), (2, 1.5, b"b")]
        page.acknowledge_picture(1)
        await settle()
        assert page.ws.sent[2:] == [(4, 1.5, b"d")], "c is never seen by this page"

    scenario(story)


def test_texts_are_no_older_than_pictures_for_a_page_that_acknowledges_them():
    async def story(feed, opened):
        page, plain = opened(), opened(texts_acknowledged=False)
        for k in range(5):
            feed.say(f"state {k}")
            await settle()
        assert page.ws.sent == ["state 0", "state 1"] and plain.ws.sent == [f"state {k}" for k in range(5)]
        page.acknowledge_text(2)
        await settle()
        assert page.ws.sent[2:] == ["state 4"]

    scenario(story)


def test_a_page_that_stands_still_keeps_at_most_the_newest_of_each_and_delays_nobody():
    async def story(feed, opened):
        stalled, other = opened(), opened()
        stalled.ws.open.clear()
        for k in range(500):
            feed.say(json.dumps(k))
            other.acknowledge_text(k + 1)
            stalled.answer(f"answer {k}")
            await show(feed, b"%d" % k)
            other.acknowledge_picture(k + 1)
        assert [s[2] for s in other.ws.sent if isinstance(s, tuple)] == [b"%d" % k for k in range(500)]
        stalled.ws.open.set()
        await settle()
        await settle()
        texts = [s for s in stalled.ws.sent if isinstance(s, str) and not s.startswith("answer")]
        assert texts == ["0", "499"], "the one on the wire, then the newest"
        assert [s[2] for s in stalled.ws.sent if isinstance(s, tuple)] == [b"499"]
        assert [s for s in stalled.ws.sent if isinstance(s, str) and s.startswith("answer")][-1] == "answer 499"
        assert len(stalled.ws.sent) <= ANSWERS + 3

    scenario(story)


def test_a_page_that_forgot_to_acknowledge_gets_the_next_one_later(monkeypatch):
    monkeypatch.setattr(feed_module, "ACK_LOST_S", -1.0)

    async def story(feed, opened):
        page = opened()
        await show(feed, b"a", b"b", b"c")
        assert len(page.ws.sent) == 3

    scenario(story)


def test_acknowledging_what_was_never_sent_opens_nothing():
    async def story(feed, opened):
        page = opened()
        page.acknowledge_picture(10**9)
        await show(feed, b"a", b"b", b"c")
        assert len(page.ws.sent) == IN_FLIGHT

    scenario(story)


def test_a_page_without_pictures_gets_texts_and_answers():
    async def story(feed, opened):
        page = opened(pictures=False)
        page.answer("hello")
        feed.say("state")
        await show(feed, b"a")
        assert page.ws.sent == ["state", "hello"]

    scenario(story)


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError])
def test_a_connection_that_breaks_ends_the_sender_quietly(error):
    class Broken(Socket):
        async def send_str(self, text):
            raise error

    async def run():
        feed = Feed()
        page = Client(feed, Broken(), "page")
        feed.say("state")
        await page.send()

    asyncio.run(run())


def test_each_camera_is_sent_and_acknowledged_for_itself():
    async def story(feed, opened):
        page = opened()
        for picture in (b"a1", b"a2", b"a3"):
            feed.show(picture, 1.5)
            feed.wake()
            await settle()
        feed.show(b"b1", 2.5, camera=3)
        feed.wake()
        await settle()
        sent = [(number >> 28, number & 0xFFFFFFF, data) for number, _, data in page.ws.sent]
        assert sent == [(0, 1, b"a1"), (0, 2, b"a2"), (3, 1, b"b1")], "two in flight of each"
        page.acknowledge_picture(3 << 28 | 1)
        await settle()
        assert len(page.ws.sent) == 3, "that was another camera's"
        page.acknowledge_picture(1)
        await settle()
        assert page.ws.sent[-1][-1] == b"a3"

    scenario(story)
