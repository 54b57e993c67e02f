# SPDX-License-Identifier: Apache-2.0
"""Give a folder to the Hub and have one from it, through huggingface_hub (its login, its HF_ENDPOINT, its caches)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rove_bringup.hub import card
from rove_bringup.hub.contents import CHECKPOINT, DATASET, FILES, HUB_ID, Contents, HubError, read_contents
from rove_contract import files

REPO_TYPE = {DATASET: "dataset", CHECKPOINT: "model"}  # the Hub's words
UNREACHABLE = {"TransportError", "ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError"}
TRACES = Path(".cache/huggingface")  # what snapshot_download leaves in a folder that it filled


def open_hub(endpoint: str = "") -> Any:
    """huggingface_hub's client. Raises HubError where the package is missing."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise HubError("the Hub needs the package huggingface_hub: pip install huggingface-hub") from error
    return HfApi(endpoint=endpoint or None, library_name="rove")


@contextmanager
def _in_words(hub: Any, name: str, what: str) -> Iterator[None]:
    """Whatever huggingface_hub raises becomes a HubError of one sentence."""
    from huggingface_hub import errors

    try:
        yield
    except HubError:
        raise
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        reasons = {
            401: f"the Hub does not know you, or {name} is not there for you: `hf auth login`, or set HF_TOKEN",
            403: f"your token may not do that with {name}: it needs the right to {what} there",
            404: f"there is no {name} on {hub.endpoint}, or not for your token (`hf auth login`)",
        }
        said = error.server_message or str(error).strip().splitlines()[0]
        raise HubError(f"cannot {what} {name}: {reasons.get(status) or f'the Hub answers {status}: {said}'}") from error
    except Exception as error:  # the HTTP client, which changed with huggingface_hub's version, has an own tree of them
        said = " ".join(str(error).split())[:300] or type(error).__name__
        if UNREACHABLE & {kind.__name__ for kind in type(error).__mro__}:
            said = f"{hub.endpoint} cannot be reached ({said}); look at the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        raise HubError(f"cannot {what} {name}: {said}") from error


def check_name(name: str) -> str:
    """Raises HubError for what is not OWNER/NAME."""
    if not HUB_ID.fullmatch(name):
        raise HubError(f"{name!r} is no name on the Hub, expected OWNER/NAME")
    return name


def push(
    folder: Path, name: str, license_id: str = "", *, private: bool = True, endpoint: str = ""
) -> tuple[str, Contents]:
    """Upload a dataset or checkpoint with its card; the folder gets the card, too. Files of an earlier push that are no
    longer here are removed there. Returns (address of the commit, what the folder holds).

    Raises HubError; DatasetError or CorrectionError for a damaged dataset. Nothing is sent before all of it was looked
    at.
    """
    check_name(name)
    license_id = card.choose_license(license_id, folder)
    contents = read_contents(folder)
    files.write(folder / card.FILE, card.write_card(contents, name, license_id, folder))
    hub, repo_type = open_hub(endpoint), REPO_TYPE[contents.kind]
    with _in_words(hub, name, "push"):
        hub.create_repo(name, repo_type=repo_type, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=name,
            folder_path=folder,
            repo_type=repo_type,
            commit_message=f"{contents.kind} pushed by rove",
            allow_patterns=[*FILES[contents.kind], card.FILE],
            ignore_patterns=["*.part", "*.tmp", ".*"],
            delete_patterns=FILES[contents.kind],
        )
    return str(commit.commit_url), contents


def pull(name: str, folder: Path, *, kind: str = "", revision: str = "", endpoint: str = "") -> Contents:
    """Fetch a dataset or checkpoint into a new folder, or bring one that was pulled up to date; look whether it is
    whole. kind: DATASET or CHECKPOINT, "": whichever the Hub has. Returns what the folder holds.

    Raises HubError; DatasetError or CorrectionError where what came cannot be used.
    """
    check_name(name)
    if folder.exists() and any(folder.iterdir()) and not (folder / TRACES).is_dir():
        raise HubError(f"{folder} is not empty and was not pulled from the Hub; give a new folder")
    hub = open_hub(endpoint)
    with _in_words(hub, name, "pull"):
        found = _find(hub, name, [kind] if kind else [DATASET, CHECKPOINT], revision)
        if len(found) > 1:
            raise HubError(f"{name} is a dataset and a checkpoint; say which with --kind")
        [(kind, commit)] = found.items()
        hub.snapshot_download(
            name,
            repo_type=REPO_TYPE[kind],
            revision=commit,
            local_dir=folder,
            allow_patterns=[*FILES[kind], card.FILE],
        )
    return read_contents(folder)


def _find(hub: Any, name: str, kinds: list[str], revision: str) -> dict[str, str]:
    """Kind -> commit of what the Hub has under a name. Raises huggingface_hub's error where it has nothing."""
    from huggingface_hub.errors import RepositoryNotFoundError

    found, missing = {}, None
    for kind in kinds:
        try:
            found[kind] = hub.repo_info(name, repo_type=REPO_TYPE[kind], revision=revision or None).sha
        except RepositoryNotFoundError as error:
            missing = error
    if not found and missing is not None:
        raise missing
    return found
