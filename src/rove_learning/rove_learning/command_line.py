# SPDX-License-Identifier: Apache-2.0
"""Command line and YAML -> one frozen dataclass; what is run is printed and stored as config.yaml beside its
results.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml

from rove_contract import files
from rove_learning.config import TrainConfig, from_dict, to_dict

SHIPPED = Path(__file__).parent / "configs"
Config = TypeVar("Config")


def read_yaml(path: str) -> dict:
    """A YAML file of a config's fields, nested as the dataclasses are; a bare name is one that ships with ROVE
    ("paper"). `base: NAME` in it names a file whose fields it changes.

    Raises ValueError naming the file.
    """
    file = SHIPPED / f"{path}.yaml" if (SHIPPED / f"{path}.yaml").is_file() else Path(path)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        shipped = ", ".join(sorted(f.stem for f in SHIPPED.glob("paper*.yaml")))
        raise ValueError(f"cannot read the configuration {path}: {error}; shipped ones: {shipped}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected a mapping of the configuration's fields, got {type(values).__name__}")
    base = values.pop("base", None)
    return values if base is None else merge(read_yaml(base), values)


def merge(values: dict, changes: dict) -> dict:
    """Nested mappings, those of `changes` over those of `values`."""
    merged = dict(values)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        merged[key] = merge(values[key], value) if both else value
    return merged


def parse(
    cls: type[Config], arguments: list[str] | None = None, description: str | None = None, required: dict | None = None
) -> Config:
    """Command line -> cls; `--config FILE.yaml` (or a shipped name) first sets other defaults, flags win.

    required: placeholder values of the fields without default, which a YAML file may leave to the flags. Raises
    ValueError for a bad file.
    """
    import tyro

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    default = {}
    if "--config" in arguments:
        at = arguments.index("--config")
        if at + 1 == len(arguments):
            raise ValueError("--config needs a YAML file or the name of a shipped one, e.g. --config paper")
        file = arguments[at + 1]
        default = {"default": from_dict(cls, {**(required or {}), **nested(cls, read_yaml(file))})}
        del arguments[at : at + 2]
    short = {"-h", "--help"} & set(arguments) and any(map(dataclasses.is_dataclass, get_type_hints(cls).values()))
    if "--help-all" in arguments:
        arguments = ["--help"]
    text = f"{description or cls.__doc__}\n\n--config FILE.yaml, or the shipped `--config paper`, sets other defaults."
    if short:
        print(first_options(lambda: tyro.cli(cls, args=["--help"], description=text, **default)))
        raise SystemExit(0)
    return tyro.cli(cls, args=arguments, description=text, **default)


def first_options(show_help: Callable[[], object]) -> str:
    """The help that `show_help` prints before it exits, without the options of nested groups but for their names."""
    whole = io.StringIO()
    with contextlib.redirect_stdout(whole), contextlib.suppress(SystemExit):
        show_help()
    parts = re.split(r"(?m)^(?=(?:╭─)? ?(?:[\w.]+ )?options\b)", whole.getvalue())  # with a frame on a terminal
    groups = [match[1] for part in parts[2:] if (match := re.match(r"(?:╭─)? ?([\w.]+) options", part))]
    count = sum(len(re.findall(r"(?m)^\W*--[a-z]", part)) for part in parts[2:])
    more = f"{count} more options in {', '.join(groups)}: --help-all\n"
    return "".join(parts[:2]) + more if groups else whole.getvalue()


def take(arguments: list[str], flag: str, choices: Sequence[str]) -> tuple[list[str], str | None]:
    """(the other arguments, the value of `flag`, None where it is not given). Raises ValueError for another value."""
    if flag not in arguments:
        return arguments, None
    at = arguments.index(flag)
    value = arguments[at + 1] if at + 1 < len(arguments) else ""
    if value not in choices:
        raise ValueError(f"{flag} is {value!r}, expected one of {', '.join(choices)}")
    return arguments[:at] + arguments[at + 2 :], value


def nested(cls, values: dict) -> dict:
    """A file of TrainConfig's fields, as --config of a command whose configuration holds a TrainConfig as `train`."""
    fields = {f.name for f in dataclasses.fields(cls)}
    if "train" not in fields or set(values) & fields:
        return values
    return {"train": {**to_plain(to_dict(TrainConfig((), ""))), **values}}


def text(config) -> str:
    """The configuration as YAML, fit for --config."""
    return yaml.safe_dump(to_plain(to_dict(config)), sort_keys=False, default_flow_style=None, width=120)


def to_plain(value):
    """Tuples -> lists, paths -> text, for YAML and JSON."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def store(config, folder: Path) -> None:
    """Write folder/config.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "config.yaml", text(config))
