# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset (v3.0, v2.1) of any robot -> dataset with ROVE's labels, to train, review and label.

    rove run rove_recorder import_lerobot ~/sets/pick_cube --camera front --unit deg --outcome success --out runs/pick
    rove run rove_recorder import_lerobot owner/name --map joints.csv --robot my_robot --out runs/data

A name like owner/name that is no folder here is fetched from the Hugging Face Hub. Stopped or killed, the same command
goes on.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rove_contract.modes import Outcome
from rove_description.description_file import RobotError
from rove_description.robot import load
from rove_recorder.dataset.fit import Fit
from rove_recorder.dataset.lerobot_format import DatasetError
from rove_recorder.dataset.staging import Busy
from rove_recorder.lerobot_import.convert import Choices, Result, import_dataset
from rove_recorder.lerobot_import.foreign import ForeignDataset
from rove_recorder.lerobot_import.mapping import MappingError, Unit, choose_cameras, guess_card, map_joints, read_joints

OUTCOMES = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE, "unknown": Outcome.NONE}
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def find_source(source: str, revision: str) -> Path:
    """The folder of a dataset, fetched from the Hub where `source` is a name there. Raises DatasetError."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(source):
        raise DatasetError(f"{source} is neither a folder nor the name of a dataset on the Hub (owner/name)")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise DatasetError(
            "datasets on the Hub need the package huggingface_hub: pip install huggingface-hub"
        ) from error
    try:
        return Path(snapshot_download(source, repo_type="dataset", revision=revision or None))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise DatasetError(f"{source} is no folder here, and the Hub does not deliver it: {first}"[:400]) from error


def report(results: list[Result], out: Path, note: str) -> int:
    """Print what was done and what was not; returns the exit status."""
    failed = [result for result in results if result.error]
    for result in failed:
        print(f"error: episode {result.index}: {result.error}", file=sys.stderr)
    done = [result.episode.frames for result in results if result.episode is not None]
    counts = [
        f"{sum(frames.outcome == Outcome.SUCCESS for frames in done)} successes",
        f"{sum(frames.outcome == Outcome.FAILURE for frames in done)} failures",
        f"{sum(frames.outcome == Outcome.NONE for frames in done)} unknown (decide in review)",
        f"{sum(frames.takeover >= 0 for frames in done)} with interventions",
    ]
    words = ", ".join(text for text in counts if not text.startswith("0 "))
    already = sum(result.already for result in results)
    text = f"{len(done)} episodes ({words or 'none'}), {sum(map(len, done))} frames -> {out}"
    text += f", {already} there already" if already else ""
    text += f"; {len(failed)} failed" if failed else ""
    print(note + "\n" + text)
    if any(frames.takeover >= 0 for frames in done):
        print(f"t_r is a guess; check it: rove run rove_recorder review {out}")
    return 1 if failed else 0


def run(
    source: tyro.conf.Positional[str],
    out: Path,
    camera: str = "",
    others: tuple[str, ...] | None = None,
    map: Path | None = None,
    robot: str = "",
    unit: Unit = "rad",
    outcome: Literal["columns", "success", "failure", "unknown"] = "columns",
    failures: tuple[int, ...] = (),
    intervention: str = "",
    adaptation_s: float = 1.0,
    task: str = "",
    operator: str = "",
    episodes: tuple[int, ...] = (),
    fps: int | None = None,
    image_size: tuple[int, int] | None = None,
    storage: Literal["video", "image"] | None = None,
    fit: Fit = "crop",
    revision: str = "",
    workers: int = 0,
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Import a LeRobot dataset; appends when the dataset exists, and goes on after a stop.

    Args:
        source: folder of the LeRobot dataset, or its name on the Hugging Face Hub (owner/name).
        out: the new dataset's folder.
        camera: the main camera, e.g. front; needed where there are several and none is called ego.
        others: cameras to keep beside it; otherwise all.
        map: CSV with the columns joint, source, scale, offset: rad = scale * value + offset. source is a name or a
            number from 0; empty: the joint stands still at offset.
        robot: name or folder of a robot: its joints in its order, all of which must be there or be mapped.
        unit: of the joint values, where no --map says it.
        outcome: of all episodes; columns: as next.success, success or a sparse next.reward say.
        failures: numbers of the episodes that failed.
        intervention: column that says when the operator drives; otherwise the known names.
        adaptation_s: seconds of an intervention until the robot is under control again (t_r); review corrects it.
        task: instruction of all episodes, instead of the dataset's.
        operator: who teleoperated.
        episodes: numbers of the episodes to import; otherwise all.
        fps: frames per second; the dataset's, for a new one the policy's (20).
        image_size: height and width; the dataset's, for a new one the ego camera's (192 192).
        storage: of the pictures; the dataset's, for a new one video.
        fit: what happens where the shapes differ: crop the middle, pad with black, or stretch.
        revision: of the dataset on the Hub.
        workers: processes; 0 is one per core.
        quiet: no progress bar.
    """
    try:
        dataset = ForeignDataset(find_source(source, revision))
        keys = choose_cameras(dataset, camera, others)
        card = load(robot).card if robot else None
        joint_map = map_joints(dataset, read_joints(map) if map else (), card.joints if card else (), unit)
        card = card or guess_card(str(dataset.info.get("robot_type") or dataset.name), joint_map.names)
        chosen = None if outcome == "columns" else OUTCOMES[outcome]
        choices = Choices(keys, chosen, failures, adaptation_s, intervention, task.strip(), operator, fit)
        options = {"episodes": episodes, "fps": fps, "image_size": image_size, "storage": storage, "workers": workers}
        results = import_dataset(dataset, out, joint_map, card, choices, progress=not quiet, **options)  # type: ignore[arg-type]
    except (DatasetError, MappingError, RobotError, Busy, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    version = dataset.info["codebase_version"]
    about = f"{dataset.name} ({version}): {len(joint_map.names)} joints, {dataset.fps:g} frames per second, cameras "
    about += ", ".join(f"{name} (from {key})" for name, key in keys.items())
    return report(results, out, about)


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
