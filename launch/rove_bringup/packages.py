# SPDX-License-Identifier: Apache-2.0
"""Where packages, their launch files and their executables are: in a colcon install, a ROS 2 installation, or the
Python environment.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

# Starts a console-script entry point without its generated script, so that an editable install needs no PATH.
# argv[0] is what its usage line calls it.
_ENTRY = "import sys; sys.argv[0] = {name!r}; from {module} import {first} as entry; sys.exit(entry{rest}())"


class PackageError(LookupError):
    """A package, executable or launch file does not exist; the message lists those that do."""

    def __str__(self) -> str:
        return str(self.args[0])


def _prefixes() -> list[Path]:
    """Install prefixes with an ament index, in the order of precedence: AMENT_PREFIX_PATH, then the Python
    environment.
    """
    paths = [path for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    return [Path(path) for path in dict.fromkeys([*paths, sys.prefix])]


def _checkout(distribution: metadata.Distribution) -> Path | None:
    """Source directory of an editable pip install of a ROS package (PEP 610), else None."""
    text = distribution.read_text("direct_url.json")
    if not text:
        return None
    origin = json.loads(text)
    if not origin.get("dir_info", {}).get("editable"):
        return None
    directory = Path(unquote(urlparse(origin["url"]).path))
    return directory if (directory / "package.xml").is_file() else None


def _distribution(package: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None


def names() -> list[str]:
    """All known packages, sorted."""
    index = [prefix / "share/ament_index/resource_index/packages" for prefix in _prefixes()]
    found = {
        entry.name
        for directory in index
        if directory.is_dir()
        for entry in directory.iterdir()
        if not entry.name.startswith(".")
    }
    distributions: dict[str, metadata.Distribution] = {}
    for (
        distribution
    ) in metadata.distributions():  # in the order of sys.path: the first of a name is the one that counts
        distributions.setdefault(distribution.metadata["Name"].replace("-", "_"), distribution)
    found.update(name for name, distribution in distributions.items() if _checkout(distribution) is not None)
    return sorted(found)


def _did_you_mean(name: str, options: list[str]) -> str:
    close = difflib.get_close_matches(name, options, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _unknown(package: str) -> PackageError:
    known = names()
    ours = [name for name in known if name.startswith("rove_")]
    others = f" and {len(known) - len(ours)} others" if len(known) > len(ours) else ""
    hint = _did_you_mean(package, known) or " Is it installed (make setup) or the workspace sourced?"
    return PackageError(f"unknown package {package!r}; known: {', '.join(ours)}{others}.{hint}")


def _checkout_of(package: str) -> Path | None:
    distribution = _distribution(package)
    return None if distribution is None else _checkout(distribution)


def prefix(package: str) -> Path:
    """Install prefix of `package`; of an editable install, the Python environment. Raises PackageError."""
    if _checkout_of(package) is not None:
        return Path(sys.prefix)
    for candidate in _prefixes():
        if (candidate / "share/ament_index/resource_index/packages" / package).is_file():
            return candidate
    raise _unknown(package)


def share(package: str) -> Path:
    """Directory of the package's launch files and parameters. Raises PackageError.

    Of an editable install this is the checkout itself, so that an edited launch file counts at once; else
    `<prefix>/share/<package>`.
    """
    return _checkout_of(package) or prefix(package) / "share" / package


def executables(package: str) -> dict[str, list[str]]:
    """Name -> command of every executable of the package: its console scripts, then files in `<prefix>/lib/<package>`.

    Raises PackageError for an unknown package.
    """
    library = prefix(package) / "lib" / package
    found = {}
    if library.is_dir():
        found.update({f.name: [str(f)] for f in sorted(library.iterdir()) if f.is_file() and os.access(f, os.X_OK)})
    distribution = _distribution(package)
    for script in [] if distribution is None else distribution.entry_points.select(group="console_scripts"):
        first, _, rest = script.attr.partition(".")
        code = _ENTRY.format(
            name=f"rove run {package} {script.name}", module=script.module, first=first, rest=f".{rest}" if rest else ""
        )
        found[script.name] = [sys.executable, "-c", code]
    return dict(sorted(found.items()))


def executable(package: str, name: str) -> list[str]:
    """Command of one executable. Raises PackageError naming the package's executables."""
    options = executables(package)
    if name not in options:
        listed = f"it has {', '.join(options)}" if options else "it has none"
        raise PackageError(
            f"package {package} has no executable {name!r}; {listed}.{_did_you_mean(name, list(options))}"
        )
    return options[name]


def launch_files(package: str) -> list[Path]:
    """Launch files of the package that rove can read, sorted. Raises PackageError."""
    root = share(package)
    found = [path for pattern in ("*.launch.yaml", "*.launch.yml") for path in root.rglob(pattern)]
    return sorted(
        path for path in found if "test" not in path.relative_to(root).parts
    )  # a checkout holds its tests' files too


def launch_file(package: str, name: str) -> Path:
    """Path of the package's launch file `name`. Raises PackageError naming those that exist."""
    options = launch_files(package)
    matches = [path for path in options if path.name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise PackageError(
            f"package {package} has {len(matches)} launch files {name!r}; give the path: {', '.join(map(str, matches))}"
        )
    listed = ", ".join(path.name for path in options) or "none"
    raise PackageError(f"no file {name!r} here, and package {package} has no such launch file; it has {listed}")
