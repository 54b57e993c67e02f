# SPDX-License-Identifier: Apache-2.0
"""A critic's scores in the layouts of other training code, so that its policies learn from our labels.

    rove run rove_recorder export_labels runs/data --scores policy --format rlinf
    rove run rove_recorder export_labels runs/data --scores policy --format evo-rl --out runs/data-labelled

rlinf: `meta/advantages_<scores>.parquet` and `meta/mixture_config.yaml` in the dataset. evo-rl, lerobot: a copy of the
dataset with columns per frame. parquet: one table. Described in docs/how-to/train-others-on-our-labels.md.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
import yaml

from rove_contract import files
from rove_contract.modes import Outcome
from rove_recorder.dataset import corrections, reader
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.correction_fields import EDITS
from rove_recorder.dataset.lerobot_format import DatasetError, inside
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.dataset.scores import NAME, read_scores, score_names
from rove_recorder.dataset.stats import column_stats

Format = Literal["rlinf", "lerobot", "evo-rl", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
MIXTURE = "meta/mixture_config.yaml"


@dataclass(frozen=True)
class FrameLabels:
    """Of every frame of a dataset in the order of "index", N frames.

    value: (N,) float32 in [-1, 0]. advantage: (N,) float32 in steps. positive: (N,) bool. A frame that the critic did
    not score (an aborted or excluded episode) is negative, with the lowest value and advantage that were given, so that
    no tool meets NaN. threshold: eta in steps; scale: steps per unit of value; NaN where unknown.
    """

    episode_index: np.ndarray
    frame_index: np.ndarray
    value: np.ndarray
    advantage: np.ndarray
    positive: np.ndarray
    threshold: float
    scale: float


def read_labels(root: Path | str, name: str) -> FrameLabels:
    """Labels of all frames from the scores `name`. Raises DatasetError when there are none, or none with a value."""
    dataset, scores = LeRobotReader(root), read_scores(root, name)
    if not np.isfinite(scores.advantage).any():
        raise DatasetError(f"the scores {name!r} of {root} have no advantages; label with a method that has a critic")
    lowest = np.nanmin(scores.value), np.nanmin(scores.advantage)
    parts: dict[str, list[np.ndarray]] = {key: [] for key in ("episode", "frame", "value", "advantage", "positive")}
    for row in dataset.episodes():
        length = row["length"]
        found = scores.of(row["episode_index"], length) or {
            "value": np.full(length, np.nan, np.float32),
            "advantage": np.full(length, np.nan, np.float32),
            "positive": np.zeros(length, dtype=bool),
        }
        parts["episode"].append(np.full(length, row["episode_index"]))
        parts["frame"].append(np.arange(length))
        for key, least in zip(("value", "advantage"), lowest, strict=True):
            parts[key].append(np.where(np.isnan(found[key]), least, found[key]).astype(np.float32))
        parts["positive"].append(found["positive"])
    return FrameLabels(*(np.concatenate(values) for values in parts.values()), scores.threshold, scores.scale)


def in_values(labels: FrameLabels) -> tuple[np.ndarray, float]:
    """(advantages (N,) float32, threshold) in units of the value instead of steps; in steps where the scale is
    unknown.
    """
    scale = labels.scale if math.isfinite(labels.scale) else 1.0
    return (labels.advantage / scale).astype(np.float32), labels.threshold / scale


def write_rlinf(root: Path, name: str, labels: FrameLabels, out: Path | None) -> list[Path]:
    """RLinf's sidecar of `cfg_rl`, with the scores' name as its tag, in the dataset or in a copy of its meta folder."""
    advantage, threshold = in_values(labels)
    table = pa.table(
        {
            "episode_index": labels.episode_index,
            "frame_index": labels.frame_index,
            "advantage": labels.positive,
            "advantage_continuous": advantage,
            "value_current": labels.value,
        }
    )
    folder = Path(root if out is None else out)
    file, mixture = inside(folder, f"meta/advantages_{name}.parquet"), inside(folder, MIXTURE)
    file.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced(file) as part:
        pq.write_table(table, part)
    known = read_mixture(mixture)
    share = float(labels.positive.mean())
    tags = known.get("tags") if isinstance(known.get("tags"), dict) else {}
    about = {"positive_quantile": share}
    if math.isfinite(threshold):
        about |= {"unified_threshold": float(threshold), "positive_threshold": float(threshold)}
    files.write(mixture, yaml.safe_dump(known | {"tags": {**tags, name: about}}, sort_keys=False))
    return [file, mixture]


def read_mixture(file: Path) -> dict:
    """What other tags stand in a mixture file; {} where there is none. Raises DatasetError."""
    if not file.is_file():
        return {}
    try:
        known = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f"cannot read {file}: {error}") from error
    if not isinstance(known, dict):
        raise DatasetError(f"{file} holds a {type(known).__name__}, expected a mapping")
    return known


def write_parquet(root: Path, name: str, labels: FrameLabels, out: Path | None) -> list[Path]:
    """One table for one's own code; row i is the frame with "index" i."""
    file = Path(out) if out is not None else Path(root) / f"labels-{name}.parquet"
    if file.suffix != ".parquet":
        raise DatasetError(f"--out is {file}, expected a file .parquet for the format parquet")
    table = pa.table(
        {
            "index": np.arange(len(labels.value)),
            "episode_index": labels.episode_index,
            "frame_index": labels.frame_index,
            "value": labels.value,
            "advantage": labels.advantage,
            "positive": labels.positive,
        }
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced(file) as part:
        pq.write_table(table, part)
    return [file]


def write_evo_rl(root: Path, name: str, labels: FrameLabels, out: Path | None) -> list[Path]:
    """Evo-RL's columns: value, advantage and a 0/1 indicator per frame, and `episode_success` per episode."""
    prefix = "complementary_info."
    columns = {
        f"{prefix}value_{name}": labels.value,
        f"{prefix}advantage_{name}": in_values(labels)[0],
        f"{prefix}acp_indicator_{name}": labels.positive.astype(np.int64),
    }
    success = {"episode_success": lambda outcome: "success" if outcome == Outcome.SUCCESS else "failure"}
    return [write_copy(root, out, columns, success)]


def write_lerobot(root: Path, name: str, labels: FrameLabels, out: Path | None) -> list[Path]:
    """Columns per frame in plain names, and the outcome of every episode in `meta/episode_labels.csv`, which LeRobot's
    RECAP trainer reads.
    """
    columns = {
        f"value_{name}": labels.value,
        f"advantage_{name}": labels.advantage,
        f"positive_{name}": labels.positive,
    }
    copy = write_copy(root, out, columns, {"success": lambda outcome: outcome == Outcome.SUCCESS})
    rows = corrected_rows(root)
    lines = [f"{row['episode_index']},{int(row['outcome'] == Outcome.SUCCESS)}" for row in rows]
    table = copy / "meta/episode_labels.csv"
    files.write(table, "\n".join(["episode_index,success", *lines]) + "\n")
    return [copy, table]


WRITERS: dict[str, Callable[[Path, str, FrameLabels, Path | None], list[Path]]] = {
    "rlinf": write_rlinf,
    "lerobot": write_lerobot,
    "evo-rl": write_evo_rl,
    "parquet": write_parquet,
}


def corrected_rows(root: Path) -> list[dict]:
    """Rows of the episodes with what a person corrected. Raises CorrectionError where episodes were edited."""
    rows = LeRobotReader(root).episodes()
    fixes = corrections.fixes(root, rows)
    corrections.require_baked(root, fixes, EDITS)  # a copy of the columns has none of them
    return [row | fixes[row["episode_index"]] for row in rows]


def write_copy(root: Path, out: Path | None, columns: dict[str, np.ndarray], of_episode: dict[str, Callable]) -> Path:
    """A copy of the dataset with more columns: per frame (N,) and, from its outcome, per episode. Raises DatasetError.

    `meta/info.json` is written last, so that a copy that was cut short is no dataset.
    """
    root = Path(root)
    if out is None:
        raise DatasetError("this format adds columns to a copy of the dataset; give its folder as --out")
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out} is not empty; give a new folder as --out")
    info = reader.read_info(root)
    kinds = {np.dtype(np.float32): "float32", np.dtype(np.int64): "int64", np.dtype(bool): "bool"}
    features = dict(info["features"])
    for key, values in columns.items():
        if key in features:
            raise DatasetError(f"dataset {root} has a column {key!r} already")
        features[key] = {"dtype": kinds[values.dtype], "shape": [1], "names": None}
    written = {layout.INFO, layout.STATS}
    for path in reader.tables(root, "data"):
        relative = path.relative_to(root).as_posix()
        table = reader.read_table(path)
        at = table["index"].to_numpy()
        for key, values in columns.items():
            table = table.append_column(key, pa.array(values[at]))
        table = table.replace_schema_metadata(layout.frame_schema(features).metadata)
        (out / relative).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, out / relative, row_group_size=max(1, table.num_rows // 16))
        written.add(relative)
    outcomes = {row["episode_index"]: row["outcome"] for row in corrected_rows(root)}
    for path in reader.tables(root, "meta/episodes"):
        relative = path.relative_to(root).as_posix()
        table = reader.read_table(path)
        for key, of_outcome in of_episode.items():
            table = table.append_column(
                key, pa.array([of_outcome(outcomes[i]) for i in table["episode_index"].to_pylist()])
            )
        (out / relative).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, out / relative)
        written.add(relative)
    for path in sorted(root.glob("*/**/*")):
        relative = path.relative_to(root).as_posix()
        if path.is_file() and relative.startswith(("meta/", "data/", "videos/")) and relative not in written:
            target = inside(out, relative)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(inside(root, relative), target)
    stats = reader.read_stats(root) | {key: column_stats(values) for key, values in columns.items()}
    layout.write_json(out / layout.STATS, stats)
    layout.write_json(out / layout.INFO, info | {"features": features})
    return out


def write_labels(root: Path | str, name: str, kind: str, out: Path | str | None = None) -> list[Path]:
    """Write the scores `name` of a dataset in the layout `kind` (one of FORMATS). Returns what was written.

    out: a new folder for lerobot and evo-rl, a file for parquet; None: in the dataset. Raises DatasetError.
    """
    if not NAME.fullmatch(name):
        raise DatasetError(f"{name!r} is no name of scores")
    corrected_rows(Path(root))  # refuses edits, which no format has
    return WRITERS[kind](Path(root), name, read_labels(root, name), None if out is None else Path(out))


def run(dataset: tyro.conf.Positional[Path], format: Format, scores: str = "", out: Path | None = None) -> int:
    """Write a critic's labels for the training code of others.

    Args:
        dataset: a dataset that `rove run rove_learning label` has scored.
        format: rlinf | lerobot | evo-rl | parquet.
        scores: name of the scores, which is the last part of label's --out; otherwise the newest.
        out: new folder (lerobot, evo-rl: a copy of the dataset) or file (parquet); otherwise in the dataset.
    """
    try:
        names = score_names(dataset)
        if not scores and not names:
            raise DatasetError(f"{dataset} has no scores; run rove run rove_learning label first")
        written = write_labels(dataset, scores or names[0], format, out)
    except (DatasetError, corrections.CorrectionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
