# SPDX-License-Identifier: Apache-2.0
"""`serve`: a checkpoint on a GPU machine, for policy nodes on robots.

    ROVE_POLICY_TOKEN=$(openssl rand -hex 16) rove run rove_policy serve --checkpoint runs/policy \\
        --host 0.0.0.0 --cert cert.pem --key key.pem

The wire is that of openpi's policy server: a WebSocket that greets with metadata and answers each observation with a
chunk. Beyond this machine it needs a token (in ROVE_POLICY_TOKEN) and TLS.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from rove_contract.web.access import Access
from rove_policy.remote import wire

HEARTBEAT_S = 10.0


@dataclass(frozen=True)
class ServeConfig:
    """A policy server."""

    checkpoint: str  # folder
    host: str = "127.0.0.1"  # address to bind
    port: int = 8000
    cert: str = ""  # PEM files for TLS
    key: str = ""
    device: str = "auto"  # cpu, cuda or auto
    precision: str = "auto"  # of the action head: bfloat16, float32 or auto
    threads: int = 1  # of torch on the CPU


class PolicyServer:
    """Answers observations with chunks of `policy`, one at a time whoever asks."""

    def __init__(self, policy: Any, access: Access):
        self.policy, self.access = policy, access
        self._one = ThreadPoolExecutor(1, "inference")

    def greeting(self) -> dict:
        """What a client is told first."""
        policy = self.policy
        return {
            "robot": policy.robot.to_dict(),
            "checkpoint": policy.hash,
            "cameras": list(getattr(policy, "cameras", ("ego",))),
            "instructions": list(policy.info.get("instructions", ())),
            "value": policy.critic is not None,
            "shared": policy.shared,
            "execution": str(policy.execution),
        }

    def answer(self, message: dict) -> dict:
        """One observation -> {"actions": (H, J), "value": V, "server_timing": {"infer_ms": ..}}. Raises ValueError for
        an observation that cannot be used.
        """
        begin = time.perf_counter()
        want = message.get("want", ["actions"])
        seen = message.get("images")
        words = message.get("prompt")
        if not isinstance(want, list) or not isinstance(seen, dict) or not isinstance(words, str):
            raise ValueError("expected images (camera -> picture), prompt (text) and want (a list)")
        for name, picture in seen.items():
            if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
                raise ValueError(f"the picture of {name} is no (H, W, 3) array of uint8")
        view = seen["ego"] if set(seen) == {"ego"} else seen
        if want == ["value"]:
            result: dict = {"value": self.policy.value(view, words)}
        else:
            result = self._act(message, view, words, "value" in want)
        return result | {"server_timing": {"infer_ms": 1e3 * (time.perf_counter() - begin)}}

    def _act(self, message: dict, view, words: str, value: bool) -> dict:
        seed, guidance = message.get("seed"), message.get("guidance")
        if not (seed is None or type(seed) is int) or not (guidance is None or isinstance(guidance, (int, float))):
            raise ValueError(f"seed is {seed!r} and guidance {guidance!r}, expected numbers or nothing")
        known = None if message.get("known") is None else (message["known"], message["weight"])
        options = {"guidance": guidance, "rng": None if seed is None else np.random.default_rng(seed), "known": known}
        act = self.policy.act_and_value if value else self.policy.act
        found = act(view, message.get("state"), words, **options)
        chunk, seen_value = found if value else (found, None)
        return {"actions": chunk} | ({"value": seen_value} if value else {})

    async def talk(self, request: web.Request) -> web.StreamResponse:
        """One client, until it leaves."""
        offered = request.headers.get("Authorization", "").removeprefix("Api-Key ").removeprefix("Bearer ")
        if reason := self.access.refusal(request.headers.get("Host"), request.headers.get("Origin")):
            return web.json_response({"error": reason}, status=403)
        if not self.access.knows(offered):
            return web.json_response({"error": "the token is missing or another one"}, status=401)
        socket = web.WebSocketResponse(max_msg_size=wire.LARGEST, heartbeat=HEARTBEAT_S, compress=False)
        await socket.prepare(request)
        await socket.send_bytes(wire.pack(self.greeting()))
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                await socket.send_str("expected msgpack, got text")
                continue
            try:
                observation = wire.unpack(message.data)
                work = asyncio.get_running_loop().run_in_executor(self._one, self.answer, observation)
                await socket.send_bytes(wire.pack(await work))
            except Exception as error:  # one bad observation must not end the server; the client is told the reason
                await socket.send_str(f"{type(error).__name__}: {error}"[:500])
        return socket

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "checkpoint": self.policy.hash})

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/", self.talk), web.get("/healthz", self.health)])
        return app


async def serve(server: PolicyServer, port: int) -> None:
    """Until SIGINT or SIGTERM; the address is printed once it listens. Raises OSError when the port is taken."""
    runner = web.AppRunner(server.application(), shutdown_timeout=1.0)
    await runner.setup()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        site = web.TCPSite(runner, server.access.host, port, ssl_context=server.access.context())
        await site.start()
        bound = runner.addresses[0][1]
        url = server.access.url(bound).replace("http", "ws", 1).rstrip("/")
        print(f"policy {server.policy.hash} at {url}: checkpoint:={url}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> int:
    import tyro

    config = tyro.cli(ServeConfig, description=__doc__, prog="rove run rove_policy serve")
    try:
        token = os.environ.get("ROVE_POLICY_TOKEN", "")
        access = Access(config.host, token, config.cert, config.key, service="policy server")
        access.context()  # before the seconds that a checkpoint takes
        import torch

        from rove_learning.inference import checkpoint

        torch.set_num_threads(config.threads)
        device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
        policy = checkpoint.load(config.checkpoint, device)
        policy.execution.set_up(graphs=device.startswith("cuda"), precision=config.precision)  # type: ignore[arg-type]
        for instruction in list(policy.info.get("instructions", ()))[:7]:
            policy.prepare(instruction)
        asyncio.run(serve(PolicyServer(policy, access), config.port))
    except (ValueError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
