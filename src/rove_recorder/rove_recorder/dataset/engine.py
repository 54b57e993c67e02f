# SPDX-License-Identifier: Apache-2.0
"""Where the costly part of an export runs: in this process, in several, or on a Ray cluster; results always in the
order of the jobs.

A job has a folder `segments`, a result an `episode` (EncodedEpisode or None): all that the engines know of either.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

Engine = Literal["process", "ray"]
RAY_INSTALL = "pip install -r requirements/scale.txt (or: pip install ray)"


class EngineError(RuntimeError):
    """An engine cannot be used; the message says what to install or to start."""


@contextmanager
def pool(engine: Engine = "process", workers: int = 0) -> Iterator[Callable]:
    """Gives `run(function, jobs)`, which yields function(job) in the order of the jobs. workers: 0 = one per core (ray:
    of the cluster).

    process: spawned processes, with one worker none. ray: the cluster of RAY_ADDRESS, otherwise a local one for as long
    as the block lasts; segments travel with the results, so only the jobs' inputs need to be where every node can read
    them. Raises EngineError.
    """
    if engine == "ray":
        yield from _ray(workers)
        return
    count = workers or os.cpu_count() or 1
    if count == 1:
        yield map
        return
    # Spawned, not forked: the parent may have threads of codecs and of ROS. Processes start with the first job.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as executor:

        def run(function, jobs):
            return _in_order(
                jobs, lambda job: executor.submit(function, job), lambda future: future.result(), 2 * count
            )

        yield run


def _in_order(jobs: Iterable, submit: Callable, result: Callable, limit: int) -> Iterator:
    """At most `limit` unread results at a time, so that memory stays flat."""
    pending: deque = deque()
    for job in jobs:
        pending.append(submit(job))
        if len(pending) >= limit:
            yield result(pending.popleft())
    while pending:
        yield result(pending.popleft())


def _ray(workers: int) -> Iterator[Callable]:
    try:
        import ray
    except ImportError as error:
        raise EngineError(f"--engine ray needs Ray, which is not installed: {RAY_INSTALL}") from error
    mine = not ray.is_initialized()
    if mine:
        address = os.environ.get("RAY_ADDRESS")
        local = {} if address else {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **local)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EngineError(f"cannot start or reach Ray at {address or 'this machine'}: {error}") from error
    try:
        remote = ray.remote(num_cpus=1, max_retries=3)(_carried)
        limit = 2 * (workers or int(ray.cluster_resources().get("CPU", 1)))
        yield lambda function, jobs: _in_order(
            jobs,
            lambda job: (job, remote.remote(function, job)),
            lambda entry: _landed(entry[0], *ray.get(entry[1])),
            limit,
        )
    finally:
        if mine:
            ray.shutdown()


def _carried(function: Callable, job):
    """Run a job where the driver's disk may not be. Returns its result and the bytes of its segment."""
    with tempfile.TemporaryDirectory(prefix="rove_segments_") as scratch:
        result = function(replace(job, segments=Path(scratch)))
        segment = result.episode.segment if result.episode is not None else None
        return result, None if segment is None else segment.read_bytes()


def _landed(job, result, segment: bytes | None):
    if segment is not None:
        job.segments.mkdir(parents=True, exist_ok=True)
        result.episode.segment = job.segments / result.episode.segment.name
        result.episode.segment.write_bytes(segment)
    return result
