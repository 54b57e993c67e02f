# SPDX-License-Identifier: Apache-2.0
"""EgoDex (Hoque et al.: {task}/{i}.hdf5 beside {task}/{i}.mp4, 1080p, 30 Hz) -> dataset, for the critic only.

    rove run rove_recorder import_egodex egodex/part1 --out runs/egodex

Stopped or killed, the same command goes on. The poses are not used; they only tell how many frames the video must have,
and their confidences, where a file has them, how well the hands were seen.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from rove_contract.modes import Outcome
from rove_recorder.human_video.clips import Clip, Result
from rove_recorder.human_video.command import DEFAULT, Options, run_import

HANDS = ("Hand", "Finger", "Thumb")  # parts of the joint names that belong to the hands


class EgoDexError(ValueError):
    """A file is not EgoDex's; the message names it, with what was expected."""


@dataclass(frozen=True)
class Annotation:
    """task: what is done. frames: number of poses, None without. confidence: mean over the hands' joints in [0, 1],
    None without.
    """

    task: str
    frames: int | None
    confidence: float | None
    guessed: bool  # the task is the folder's name


def _text(value) -> str:
    return (
        value.decode("utf-8", "replace").strip()
        if isinstance(value, bytes)
        else ""
        if value is None
        else str(value).strip()
    )


def read_annotation(path: Path) -> Annotation:
    """Reads {i}.hdf5.

    The description is `llm_description` or, for the second direction of a reversible task (`llm_type`,
    `which_llm_description`), `llm_description2`; in older files `description` or `description2`; without any, the
    folder's name. Raises EgoDexError.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"EgoDex needs h5py ({error}): pip install h5py") from error

    try:
        with h5py.File(path, "r") as file:
            attributes = {name: _text(value) for name, value in file.attrs.items()}
            poses = file.get("transforms", {})
            counts = {len(pose) for pose in poses.values() if isinstance(pose, h5py.Dataset) and pose.ndim == 3}
            confidences = [
                value[()] for name, value in file.get("confidences", {}).items() if any(part in name for part in HANDS)
            ]
    except (OSError, KeyError, RuntimeError) as error:
        raise EgoDexError(f"{path} cannot be read as HDF5: {error}; copy it again") from error
    if len(counts) > 1:
        raise EgoDexError(f"{path}: its transforms have different lengths ({', '.join(map(str, sorted(counts)))})")
    second = "2" if attributes.get("which_llm_description", "1") == "2" else ""
    names = (f"llm_description{second}", f"description{second}", "llm_description", "description")
    task = next((attributes[name] for name in names if attributes.get(name)), "")
    seen = np.concatenate([np.ravel(value) for value in confidences]) if confidences else np.empty(0)
    seen = seen[np.isfinite(seen)]
    return Annotation(
        task or path.parent.name.replace("_", " "),
        counts.pop() if counts else None,
        float(seen.mean()) if len(seen) else None,
        not task,
    )


def collect(
    folders: tuple[Path, ...], outcome: Outcome, min_confidence: float, progress: bool = False
) -> tuple[list[Clip], list[Result]]:
    """Clips of all pairs below the folders in sorted order; errors for files without their partner. Raises EgoDexError
    for an empty one.
    """
    clips, rest = [], []
    for folder in folders:
        names = sorted(
            {path.with_suffix("") for path in folder.rglob("*") if path.suffix in (".hdf5", ".mp4")}, key=_natural
        )
        if not names:
            raise EgoDexError(
                f"{folder} holds no .hdf5 and .mp4 files; expected EgoDex's folders, e.g. part1 with "
                f"{{task}}/{{i}}.hdf5"
            )
        for name in tqdm(names, desc=f"annotations of {folder.name}", unit="file", disable=not progress):
            annotation, video = name.with_suffix(".hdf5"), name.with_suffix(".mp4")
            clip = Clip(video, "", outcome, origin=str(annotation))
            try:
                for path, other in ((annotation, video), (video, annotation)):
                    if not path.is_file():
                        raise EgoDexError(f"{other} has no {path.name} beside it; copy it again")
                found = read_annotation(annotation)
            except EgoDexError as error:
                rest.append(Result(clip, error=str(error)))
                continue
            if found.confidence is not None and found.confidence < min_confidence:
                rest.append(
                    Result(
                        clip,
                        note=(
                            f"{video}: hands seen with confidence {found.confidence:.2f} < {min_confidence:g}: left out"
                        ),
                    )
                )
                continue
            note = (
                f"{annotation} has no description; its task is the folder's name, {found.task!r}"
                if found.guessed
                else ""
            )
            clips.append(
                Clip(video, found.task, outcome, prefix=f"egodex-{name.parent.name}-", frames=found.frames, note=note)
            )
    return clips, rest


def _natural(path: Path):
    """10 comes after 9."""
    return str(path.parent), (0, int(path.name), "") if path.name.isdigit() else (1, 0, path.name)


def run(
    folders: tyro.conf.Positional[tuple[Path, ...]],
    out: Path,
    failure: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    min_confidence: float = 0.0,
    limit: int = 0,
    encoding: Options = DEFAULT,
) -> int:
    """Import EgoDex as successful human episodes for the critic's pretraining; appends when the dataset exists, and
    goes on after a stop.

    Args:
        folders: EgoDex's parts or tasks, e.g. egodex/part1 or egodex/test/add_remove_lid.
        out: the dataset's folder.
        failure: the episodes show failures; EgoDex's own are all successes.
        min_confidence: leave out episodes whose hands were seen with less confidence, 0 to 1; those without confidences
          stay.
        limit: import only the first so many episodes; 0 is all.
    """

    def clips() -> tuple[list[Clip], list[Result]]:
        if not folders:
            raise EgoDexError("no folder was given; name a part of EgoDex")
        found, rest = collect(
            folders, Outcome.FAILURE if failure else Outcome.SUCCESS, min_confidence, not encoding.quiet
        )
        return found[: limit or None], rest

    return run_import(clips, out, encoding, EgoDexError)


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
