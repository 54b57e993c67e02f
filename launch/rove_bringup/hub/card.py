# SPDX-License-Identifier: Apache-2.0
"""The card of a dataset or checkpoint: README.md with the Hub's metadata (a YAML block) and what people need to know.

https://huggingface.co/docs/hub/datasets-cards and https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from rove_bringup.hub.contents import DATASET, Contents, HubError

FILE = "README.md"
MARK = "<!-- Written by `rove push`, anew each time; take this line out and the text is yours. -->"
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # the Hub's identifiers, e.g. apache-2.0, cc-by-4.0, other
HEAD = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
NO_LICENSE = (
    "without a licence nobody may use it: give one as --license (apache-2.0, cc-by-4.0, …; "
    "https://huggingface.co/docs/hub/repositories-licenses)"
)


def read_metadata(text: str) -> dict:
    """The YAML block at the beginning of a card; {} without one. Raises HubError."""
    found = HEAD.match(text)
    if found is None:
        return {}
    try:
        values = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise HubError(f"{FILE} does not begin with valid YAML: {' '.join(str(error).split())[:200]}") from error
    return values if isinstance(values, dict) else {}


def choose_license(given: str, folder: Path) -> str:
    """The licence: as given, else as an earlier card in the folder says. Raises HubError without one."""
    file = folder / FILE
    earlier = read_metadata(file.read_text(encoding="utf-8")).get("license") if file.is_file() else None
    chosen = given or (earlier if isinstance(earlier, str) else "")
    if not chosen:
        raise HubError(f"{folder} has no licence, and {NO_LICENSE}")
    if not LICENSE.fullmatch(chosen):
        raise HubError(f"{chosen!r} is no licence of the Hub's list; give one such as apache-2.0 or cc-by-4.0")
    return chosen


def write_card(contents: Contents, name: str, license_id: str, folder: Path) -> str:
    """The text of README.md. One that somebody wrote by hand stays, if it names this licence. Raises HubError."""
    file = folder / FILE
    if file.is_file() and MARK not in (own := file.read_text(encoding="utf-8")):
        if read_metadata(own).get("license") != license_id:
            raise HubError(f"{file} is your own text; let its YAML block say `license: {license_id}`")
        return own
    tags = ["robotics", "rove", *([contents.robot] if contents.robot else [])]
    metadata: dict[str, object] = {"license": license_id, "tags": tags}
    if contents.kind == DATASET:
        tags.append("LeRobot")
        # what the Hub's viewer shows: the frames
        frames = [{"config_name": "default", "data_files": "data/*/*.parquet"}]
        metadata |= {"task_categories": ["robotics"], "configs": frames}
    else:
        metadata |= {"pipeline_tag": "robotics", "library_name": "rove"}
        if contents.backbones:
            metadata["base_model"] = list(contents.backbones)
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    rows = "\n".join(f"| {key} | {_cell(value)} |" for key, value in contents.facts.items())
    tasks = "\n".join(f"- {_cell(task)}" for task in contents.tasks) or "- not named"
    return (
        f"---\n{head}---\n{MARK}\n\n# {name.partition('/')[2]}\n\n{_about(contents)}\n\n"
        f"## Tasks\n\n{tasks}\n\n## What it holds\n\n| | |\n|---|---|\n{rows}\n\n## Use it\n\n{_usage(contents, name)}"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _about(contents: Contents) -> str:
    if contents.kind == DATASET:
        return (
            "Episodes of a robot with the labels of its supervisor: rollouts of a policy, pauses, takeovers, the "
            "operator's adaptation and recovery (stage, outcome and t_r per episode, intervention per frame). LeRobot "
            "v3.0 format. Corrections by people stand in `meta/corrections.jsonl`; other tools do not know them."
        )
    return "A vision-language-action policy, and where there is one the critic that guides it. Weights and JSON only."


def _usage(contents: Contents, name: str) -> str:
    local = f"runs/{name.partition('/')[2]}"
    if contents.kind == DATASET:
        lines = [f"rove pull {name} {local}", f"rove run rove_recorder review {local}"]
        lines += [f"rove run rove_learning train --dataset {local} --out runs/policy"]
        text = "\n".join(f"    {line}" for line in lines)
        return f"{text}\n\nor with LeRobot: `LeRobotDataset({name!r})`.\n"
    lines = [f"rove pull {name} {local}", f"rove launch session.launch.yaml checkpoint:={local}"]
    needs = "".join(f"\nIt needs the pretrained backbone `{path}`.\n" for path in contents.backbones)
    return "\n".join(f"    {line}" for line in lines) + "\n" + needs
