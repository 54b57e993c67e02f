# SPDX-License-Identifier: Apache-2.0
"""Whose part of a step's global batch a process draws, and drawing it ahead."""

from __future__ import annotations

import collections
import functools
import itertools
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class BatchPart:
    """The part `index` of `count` equal parts of one step's global batch. seed: of the step's randomness, the same in
    every part.
    """

    seed: tuple[int, ...]
    index: int = 0
    count: int = 1

    def rng(self) -> np.random.Generator:
        """The step's generator, to draw for the whole global batch."""
        return np.random.default_rng(self.seed)

    def rows(self, batch: int) -> slice:
        """This part's rows of the global batch of count x batch."""
        return slice(self.index * batch, (self.index + 1) * batch)

    def normal(self, rows: slice, shape: tuple[int, ...]) -> np.ndarray:
        """(rows, *shape) float32 normals with one generator per row: large draws are made only where they are
        needed.
        """
        seeds = np.random.SeedSequence(self.seed).generate_state(2, np.uint64)
        bits = (np.random.Philox(key=seeds, counter=[0, 0, row, 0]) for row in range(rows.start, rows.stop))
        return np.stack([np.random.Generator(b).standard_normal(shape, dtype=np.float32) for b in bits])


def prefetch(draw: Callable[[BatchPart], Any], parts: Iterable[BatchPart], ahead: bool) -> Generator[tuple[Any, float]]:
    """(draw(part), s waited for it) of each part; ahead: the next one is drawn in a thread meanwhile."""
    if not ahead:
        for part in parts:
            begin = time.perf_counter()
            batch = draw(part)
            yield batch, time.perf_counter() - begin
        return
    # CUDA's current device is each thread's own, at first the GPU 0: "cuda" would be another one there than in this
    # process.
    start = (
        functools.partial(torch.cuda.set_device, torch.cuda.current_device()) if torch.cuda.is_initialized() else None
    )
    with ThreadPoolExecutor(1, "batch", start) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for part in itertools.chain(parts, [None]):
                if part is not None:
                    waiting.append(pool.submit(draw, part))
                if len(waiting) > 1 or (part is None and waiting):
                    begin = time.perf_counter()
                    batch = waiting.popleft().result()
                    yield batch, time.perf_counter() - begin
        finally:
            for future in waiting:
                future.cancel()
