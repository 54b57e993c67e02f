# SPDX-License-Identifier: Apache-2.0
"""One export as n independent jobs of a batch system: job i takes the bags whose names fall to it and writes a dataset
of its own.

`merge` puts the shards together; the result does not depend on n, nor on the order in which the jobs ran.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from rove_recorder.dataset import remote

FOLDER = "shards"
REPORT = "shard.json"  # written when a job is through; without it the shard is missing


class ShardError(ValueError):
    """A shard is misnamed or missing; the message says which, and what to do."""


@dataclass(frozen=True)
class Shard:
    """index: 1 ... count."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """ "2/8" -> Shard(2, 8). Raises ShardError."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ShardError(f"--shard {text}: expected i/n with i from 1 to n, e.g. 3/8 for the third of eight jobs")
        return cls(int(match[1]), int(match[2]))

    def takes(self, name: str) -> bool:
        """Whether a bag of this folder name belongs here. By its name, not its place in a listing: bags that arrive
        while the jobs run neither fall between them nor go to two of them."""
        return (
            int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") % self.count == self.index - 1
        )

    def folder(self, out: str | Path):
        """Where this shard's dataset is: `out`/shards/2-of-8."""
        return remote.join(out, FOLDER, f"{self.index}-of-{self.count}")

    def write_report(self, out: str | Path, bags: int, taken: int, episodes: int, errors: dict[str, str]) -> None:
        """bags: that the job saw, of which `taken` were its own."""
        report = {
            "shard": self.index,
            "of": self.count,
            "bags": bags,
            "taken": taken,
            "episodes": episodes,
            "errors": errors,
        }
        remote.write_text(remote.join(self.folder(out), REPORT), json.dumps(report, indent=1) + "\n")


def read_reports(shards: Path) -> dict[Shard, dict]:
    """The reports of all shards below the folder `shards`. Raises ShardError when one is missing or they belong to
    different runs.
    """
    found = {}
    for path in sorted(shards.glob(f"*/{REPORT}")):
        report = json.loads(path.read_text(encoding="utf-8"))
        found[Shard(report["shard"], report["of"])] = report
    if not found:
        raise ShardError(f"no finished shard in {shards}; run export with --shard 1/n ... n/n first")
    counts = sorted({shard.count for shard in found})
    if len(counts) > 1:
        raise ShardError(
            f"{shards} holds shards of runs with n = {', '.join(map(str, counts))}; remove those of one of them"
        )
    missing = [str(i) for i in range(1, counts[0] + 1) if Shard(i, counts[0]) not in found]
    if missing:
        raise ShardError(
            f"{shards} lacks shard {', '.join(missing)} of {counts[0]}; run export again with --shard "
            f"{missing[0]}/{counts[0]}"
        )
    return found
