# SPDX-License-Identifier: Apache-2.0
"""Write corrections into the columns: a new dataset that needs no meta/corrections.jsonl.

    rove run rove_recorder bake runs/data --out runs/data-corrected

Before a dataset is given away or edited with other tools, which do not know the corrections file and would lose it.
Videos are copied packet by packet. The dataset itself does not change.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from rove_recorder.dataset import corrections, quality
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.corrections import CorrectionError
from rove_recorder.dataset.lerobot import DatasetWriter
from rove_recorder.dataset.lerobot_format import DatasetError
from rove_recorder.dataset.merge import read_encoded
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.dataset.staging import Busy
from rove_recorder.dataset.stats import column_stats
from rove_recorder.dataset.video import VideoError


def bake(root: Path | str, out: Path | str, progress: bool = True) -> tuple[int, int]:
    """Write the dataset `root` with its corrections applied to the new folder `out`.

    Returns (episodes, corrected ones). Raises DatasetError when `out` holds a dataset already or something cannot be
    read, CorrectionError, Busy.
    """
    root, out = Path(root), Path(out)
    if (out / layout.INFO).exists():
        raise DatasetError(f"{out} holds a dataset already; give a new folder as --out")
    source = LeRobotReader(root)
    rows = source.episodes(stats=True)
    fixes, reports = corrections.fixes(root, rows), quality.read(root)
    sizes, kind = layout.stored_sizes(source.features), layout.storage(source.features)
    with DatasetWriter(out, source.robot, round(source.fps), sizes, kind) as writer:
        for row in tqdm(rows, unit="episode", disable=not progress):
            fix = fixes[row["episode_index"]]
            episode = read_encoded(source, row | fix, writer.segments)
            if "t_r" in fix:
                episode.frames.stage = corrections.restage(episode.frames.stage, fix["t_r"])
                episode.stats["stage"] = column_stats(episode.frames.stage)
            episode.quality = reports.get(row["episode_id"])
            writer.add_encoded(episode)
    return len(rows), sum(map(bool, fixes.values()))


def run(
    dataset: tyro.conf.Positional[Path],
    out: Path,
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Write corrections into the columns of a new dataset.

    Args:
        dataset: the corrected dataset's folder; it does not change.
        out: a new folder.
        quiet: no progress bar.
    """
    try:
        episodes, corrected = bake(dataset, out, not quiet)
    except (DatasetError, CorrectionError, VideoError, Busy, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{episodes} episodes, {corrected} of them corrected -> {out}")
    return 0


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
