# SPDX-License-Identifier: Apache-2.0
"""A critic's scores of a dataset's frames, stored beside it: `meta/scores/<name>.parquet`, one file per critic.

    write_scores("runs/data", "policy", episode, frame, value=value, advantage=advantage, positive=positive,
                 threshold=labels.threshold, scale=normaliser.scale, checkpoint=policy.hash)
    scores = read_scores("runs/data", "policy")
    value = scores.of(episode_index=3, length=120)["value"]

Rows may come in any order and need not cover every frame: what a critic did not see has no row. Nothing else of the
dataset changes.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rove_contract.files import replaced
from rove_recorder.dataset.lerobot_format import DatasetError, inside
from rove_recorder.dataset.reader import UNREADABLE, read_table

FOLDER = "meta/scores"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SCHEMA = pa.schema(
    [
        ("episode_index", pa.int64()),
        ("frame_index", pa.int64()),
        ("value", pa.float32()),
        ("advantage", pa.float32()),
        ("positive", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Scores:
    """One critic's scores, N frames.

    episode_index, frame_index: (N,) int64, as in the dataset. value: (N,) float32, V(s) normalised to [-1, 0] (paper,
    App. G). advantage: (N,) float32, H-step advantage in steps (paper, Algorithm 1, line 4). positive: (N,) bool,
    improvement label I. threshold: eta in steps, NaN if none. scale: steps per unit of value, NaN if unknown.
    checkpoint: hash of the critic's checkpoint.
    """

    name: str
    episode_index: np.ndarray
    frame_index: np.ndarray
    value: np.ndarray
    advantage: np.ndarray
    positive: np.ndarray
    threshold: float = math.nan
    scale: float = math.nan
    checkpoint: str = ""

    def of(self, episode_index: int, length: int) -> dict[str, np.ndarray] | None:
        """value, advantage (length,) float32 and positive (length,) bool of one episode; NaN and False where not
        scored. None: no row.
        """
        rows = np.flatnonzero((self.episode_index == episode_index) & (self.frame_index < length))
        if not len(rows):
            return None
        found = {
            "value": np.full(length, np.nan, np.float32),
            "advantage": np.full(length, np.nan, np.float32),
            "positive": np.zeros(length, dtype=bool),
        }
        for key, column in found.items():
            column[self.frame_index[rows]] = getattr(self, key)[rows]
        return found


def path_of(dataset: Path | str, name: str) -> Path:
    """The file of the scores `name`. Raises DatasetError for a name that is no plain file name."""
    if not NAME.fullmatch(name):
        raise DatasetError(
            f"scores cannot be named {name!r}: 1 to 64 letters, digits, '.', '_' or '-', e.g. the checkpoint's name"
        )
    return inside(dataset, f"{FOLDER}/{name}.parquet")


def write_scores(
    dataset: Path | str,
    name: str,
    episode_index,
    frame_index,
    *,
    value,
    advantage,
    positive,
    threshold: float = math.nan,
    scale: float = math.nan,
    checkpoint: str = "",
) -> Path:
    """Write `meta/scores/<name>.parquet` atomically, replacing scores of that name. Columns (N,): see `Scores`. Returns
    the file.

    Raises DatasetError when there is no dataset, the columns differ in length, a frame comes twice, or an index is
    negative.
    """
    root, file = Path(dataset), path_of(dataset, name)
    if not (root / "meta" / "info.json").is_file():
        raise DatasetError(f"{root} is no dataset: it has no meta/info.json, so there is nothing to score")
    columns = {
        "episode_index": episode_index,
        "frame_index": frame_index,
        "value": value,
        "advantage": advantage,
        "positive": positive,
    }
    arrays = {
        key: np.asarray(column, dtype=SCHEMA.field(key).type.to_pandas_dtype()) for key, column in columns.items()
    }
    shapes = {key: array.shape for key, array in arrays.items()}
    if len(set(shapes.values())) != 1 or arrays["value"].ndim != 1:
        raise DatasetError(
            f"scores {name!r} need columns of one length: "
            f"{', '.join(f'{key} {shape}' for key, shape in shapes.items())}"
        )
    if len(arrays["value"]) and min(arrays["episode_index"].min(), arrays["frame_index"].min()) < 0:
        raise DatasetError(f"scores {name!r} have a negative episode_index or frame_index")
    order = np.lexsort((arrays["frame_index"], arrays["episode_index"]))
    arrays = {key: array[order] for key, array in arrays.items()}
    same = (np.diff(arrays["episode_index"]) == 0) & (np.diff(arrays["frame_index"]) == 0)
    if same.any():
        row = int(np.flatnonzero(same)[0])
        raise DatasetError(
            f"scores {name!r}: frame {arrays['frame_index'][row]} of episode {arrays['episode_index'][row]} comes twice"
        )
    about = {"threshold": _finite(threshold), "scale": _finite(scale), "checkpoint": checkpoint}
    table = pa.table(arrays, schema=SCHEMA.with_metadata({"rove": json.dumps(about)}))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(file) as part:
        pq.write_table(table, part)
    return file


def score_names(dataset: Path | str) -> list[str]:
    """Names of the scores stored beside a dataset, the newest first."""
    files = [
        file for file in (Path(dataset) / FOLDER).glob("*.parquet") if NAME.fullmatch(file.stem) and file.is_file()
    ]
    return [file.stem for file in sorted(files, key=lambda file: (-file.stat().st_mtime_ns, file.stem))]


def read_scores(dataset: Path | str, name: str) -> Scores:
    """Scores that `write_scores` wrote. Raises DatasetError when they are missing, unreadable or of another layout."""
    file = path_of(dataset, name)
    if not file.is_file():
        raise DatasetError(f"{dataset} has no scores {name!r}; it has {', '.join(score_names(dataset)) or 'none'}")
    table = read_table(file)
    if missing := [field.name for field in SCHEMA if field.name not in table.column_names]:
        raise DatasetError(
            f"the scores {file} have no column {', '.join(missing)}; they have {', '.join(table.column_names)}"
        )
    try:
        about = json.loads((table.schema.metadata or {}).get(b"rove", b"{}"))
        arrays = {field.name: table[field.name].cast(field.type).combine_chunks() for field in SCHEMA}
        if any(array.null_count for array in arrays.values()):
            raise ValueError("a value is missing")
        columns = {name: array.to_numpy(zero_copy_only=False) for name, array in arrays.items()}
        if len(columns["frame_index"]) and min(columns["frame_index"].min(), columns["episode_index"].min()) < 0:
            raise ValueError("a negative frame_index or episode_index")
        return Scores(
            name,
            **columns,
            threshold=_number(about.get("threshold")),
            scale=_number(about.get("scale")),
            checkpoint=str(about.get("checkpoint") or ""),
        )
    except (*UNREADABLE, AttributeError, RecursionError) as error:
        raise DatasetError(f"cannot read the scores {file}: {error}"[:500]) from error


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _number(value) -> float:
    return math.nan if value is None else float(value)
