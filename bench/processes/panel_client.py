# SPDX-License-Identifier: Apache-2.0
"""One panel that reads what the supervisor sends: `python panel_client.py PORT`. On SIGTERM it prints the number of
messages.
"""

import asyncio
import contextlib
import signal
import sys

import aiohttp

received = 0


async def watch(port):
    global received
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with aiohttp.ClientSession() as client, client.ws_connect(f"http://127.0.0.1:{port}/ws") as ws:
                async for _ in ws:
                    received += 1
        await asyncio.sleep(0.5)


async def main(port):
    task = asyncio.create_task(watch(port))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    print(received)


asyncio.run(main(sys.argv[1]))
