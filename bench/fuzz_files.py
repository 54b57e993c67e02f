# SPDX-License-Identifier: Apache-2.0
"""File-format fuzz: damaged and hostile bags, datasets, journals, checkpoints and configurations through recover,
export, review, training and policy loading.

    python bench/fuzz_files.py --inputs 20000 --workers 2
    python bench/fuzz_files.py --only dataset --first 4711 --inputs 1       (one input again, with its traceback)

No input may end in anything but a result or a sentence, change what lies outside its folder, take more than 2 GB or
30 s, or end the process. Prints a table; the last line is one JSON object. `--quick`: 300 inputs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rove_learning.testing.fuzz_files import TARGETS, FuzzFailure, fuzz

SHARE = {"bag": 0.3, "dataset": 0.25, "jpegs": 0.05, "journal": 0.1, "checkpoint": 0.15, "yaml": 0.15}  # of the inputs
PART = 500  # inputs of one process
MEMORY = Path("/dev/shm")  # there fsync costs nothing


def child(name: str, first: int, count: int) -> int:
    """Fuzz in this process; prints each seed before it is tried, so that a process that dies names its input."""
    with tempfile.TemporaryDirectory(prefix="rove_fuzz_", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        try:
            counts = fuzz(name, range(first, first + count), Path(folder), lambda seed: print(seed, flush=True))
        except FuzzFailure as error:
            print(f"failure: {error}", flush=True)
            return 1
    print(json.dumps(counts), flush=True)
    return 0


def part(name: str, first: int, count: int) -> tuple[str, dict[str, int], list[str]]:
    """`child` in a process of its own, begun anew behind each input that failed: outcomes and failures."""
    counts: dict[str, int] = {}
    failures = []
    end = first + count
    while first < end:
        command = [sys.executable, __file__, "--child", name, "--first", str(first), "--inputs", str(end - first)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        if done.returncode == 0:
            for outcome, number in json.loads(lines[-1]).items():
                counts[outcome] = counts.get(outcome, 0) + number
            break
        seeds = [int(line) for line in lines if line.isdigit()]
        last = seeds[-1] if seeds else first
        said = done.stdout[done.stdout.find("failure:") :] if "failure:" in done.stdout else done.stderr[-2000:]
        failures.append(f"{name} {last}: exit status {done.returncode}\n{said}")
        counts["tried before a failure"] = counts.get("tried before a failure", 0) + max(last - first, 0)
        first = last + 1
    return name, counts, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--child", choices=TARGETS, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.child:
        return child(args.child, args.first, args.inputs)
    total = 300 if args.quick else args.inputs
    jobs = []
    for name in (args.only,) if args.only else TARGETS:
        count = total if args.only else round(total * SHARE[name])
        jobs += [(name, args.first + at, min(PART, count - at)) for at in range(0, count, PART)]
    begin = time.monotonic()
    outcomes: dict[str, dict[str, int]] = {}
    failures = []
    with ThreadPoolExecutor(args.workers) as pool:
        for name, counts, failed in pool.map(lambda job: part(*job), jobs):
            mine = outcomes.setdefault(name, {})
            for outcome, number in counts.items():
                mine[outcome] = mine.get(outcome, 0) + number
            failures += failed
            for failure in failed:
                print(failure, file=sys.stderr, flush=True)
    for name, counts in outcomes.items():
        words = ", ".join(f"{outcome} {number}" for outcome, number in sorted(counts.items()))
        print(f"{name:<12}{sum(counts.values()):>7}  {words}")
    result = {"inputs": sum(map(lambda counts: sum(counts.values()), outcomes.values())) + len(failures)}
    result |= {"failures": len(failures), "seconds": round(time.monotonic() - begin, 1), "outcomes": outcomes}
    print(json.dumps(result))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
