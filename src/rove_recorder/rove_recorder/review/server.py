# SPDX-License-Identifier: Apache-2.0
"""A local page to look through a dataset and correct its labels.

    rove run rove_recorder review runs/data

The page plays each episode beside its stages, joints and the critic's scores. With the keyboard it corrects t_r,
outcome and the exclude flag, trims, splits and deletes episodes and renames their task. Corrections go to
meta/corrections.jsonl beside the data, which itself never changes; training reads them.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro
from aiohttp import web

from rove_contract.web.access import Access
from rove_contract.web.server import WebServer, on_signals
from rove_recorder.dataset.corrections import CorrectionError
from rove_recorder.dataset.lerobot_format import DatasetError
from rove_recorder.review.data import ReviewData, packed

PORT = 8770
MOST_PICTURES = 64  # in one answer: about 3 s of an episode, under 100 ms of decoding
MOST_NUMBER = 2**31  # an index or a frame above is none


class ReviewServer(WebServer):
    """The page and its interface over one dataset. by: who corrects, stored with every correction."""

    public = frozenset()
    port_option = "--port"
    farewell = "the review stops"

    def __init__(self, data: ReviewData, by: str, port: int = PORT):
        super().__init__(Access(service="review"), port, "rove_recorder.review")
        self.data, self.by = data, by

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/dataset", self._dataset),
            web.get(r"/api/episode/{index:[0-9]{1,9}}", self._episode),
            web.get(r"/api/episode/{index:[0-9]{1,9}}/joints", self._joints),
            web.get(r"/api/episode/{index:[0-9]{1,9}}/pictures", self._pictures),
            web.post("/api/correct", self._correct),
            web.post("/api/undo", self._undo),
        ]

    def middlewares(self) -> list:
        return [_errors]

    async def _dataset(self, request: web.Request) -> web.Response:
        listing = await asyncio.to_thread(self.data.listing)
        return web.json_response(listing | {"by": self.by})

    async def _episode(self, request: web.Request) -> web.Response:
        index, scores = int(request.match_info["index"]), request.query.get("scores", "")
        return web.json_response(await asyncio.to_thread(self.data.episode, index, scores))

    async def _joints(self, request: web.Request) -> web.Response:
        body = await asyncio.to_thread(self.data.joints, int(request.match_info["index"]))
        return web.Response(body=body, content_type="application/octet-stream")

    async def _pictures(self, request: web.Request) -> web.Response:
        try:
            start, count = (int(request.query[key]) for key in ("start", "count"))
        except (KeyError, ValueError):
            raise web.HTTPBadRequest(text="expected ?start=FRAME&count=NUMBER") from None
        if not 1 <= count <= MOST_PICTURES or not 0 <= start < MOST_NUMBER:
            raise web.HTTPBadRequest(text=f"expected a frame from 0 and a count of 1 to {MOST_PICTURES}")
        index, camera = int(request.match_info["index"]), request.query.get("camera", "")
        jpegs = await asyncio.to_thread(self.data.pictures, index, start, count, camera)
        return web.Response(body=packed(jpegs), content_type="application/octet-stream")

    async def _correct(self, request: web.Request) -> web.Response:
        wish = await _wish(
            request, {"episode": int, "field": str, "value": (int, str, bool), "expected": (int, str, bool)}
        )
        return web.json_response(
            await asyncio.to_thread(
                self.data.correct, wish["episode"], wish["field"], wish["value"], self.by, wish["expected"]
            )
        )

    async def _undo(self, request: web.Request) -> web.Response:
        wish = await _wish(request, {"episode": int})
        return web.json_response(await asyncio.to_thread(self.data.undo, wish["episode"], self.by))


@web.middleware
async def _errors(request: web.Request, handler: Callable) -> web.StreamResponse:
    """What went wrong as a sentence in JSON."""
    try:
        return await handler(request)
    except CorrectionError as error:
        return web.json_response({"error": str(error)}, status=409)
    except DatasetError as error:
        return web.json_response({"error": str(error)}, status=404)
    except OSError as error:  # a full disk, a dataset without write permission
        return web.json_response(
            {"error": f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")}, status=500
        )
    except web.HTTPException as error:
        return web.json_response({"error": error.text}, status=error.status)


async def _wish(request: web.Request, keys: dict) -> dict:
    """The request's JSON object with exactly these keys and types. A foreign page cannot send JSON without asking the
    browser first.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text=f"expected application/json, got {request.content_type}")
    try:
        wish = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"expected JSON: {error}") from None
    if not isinstance(wish, dict) or wish.keys() != keys.keys():
        raise web.HTTPBadRequest(text=f"expected an object with {', '.join(keys)}")
    for key, kind in keys.items():
        if not isinstance(wish[key], kind) or (kind is int and isinstance(wish[key], bool)):
            raise web.HTTPBadRequest(text=f"{key} cannot be {wish[key]!r}")
        if isinstance(wish[key], int) and abs(wish[key]) >= MOST_NUMBER:
            raise web.HTTPBadRequest(text=f"{key} is out of range")
    return wish


def run(
    dataset: tyro.conf.Positional[Path],
    port: int = PORT,
    by: str = "",
    browse: Annotated[bool, tyro.conf.arg(name="open")] = False,
) -> int:
    """Look through a dataset in the browser, correct labels and edit episodes; `?` on the page lists the keys.

    Only this machine can reach the page; from another one: ssh -L 8770:127.0.0.1:8770 HOST.

    Args:
        dataset: the dataset's folder, as export writes it.
        port: of the page; 0 takes any free one.
        by: your name, stored with every correction; your login name if left out.
        browse: open the page in this machine's browser.
    """
    try:
        data = ReviewData(dataset)
        data.listing()  # corrections that cannot be read are better told now than on the page
    except (DatasetError, CorrectionError) as error:
        print(f"review: {error}", file=sys.stderr)
        return 2
    server = ReviewServer(data, by or login(), port)
    stop = on_signals()
    try:
        address = server.start()
    except ValueError as error:
        print(f"review: {error}", file=sys.stderr)
        return 2
    print(f"reviewing {server.data.root} as {server.by}: {address}  (Ctrl-C stops)", flush=True)
    if browse:
        import webbrowser

        webbrowser.open(address)
    server.wait(stop)
    return 0


def login() -> str:
    """Name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        return "unknown"


def main() -> int:
    return tyro.cli(run)


if __name__ == "__main__":
    sys.exit(main())
