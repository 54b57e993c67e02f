# SPDX-License-Identifier: Apache-2.0
"""CURVE keys for operators beyond this machine: make them, read them.

    rove run rove_teleop keys DIR            the receiver's keys, once:  DIR/receiver.key(_secret)
    rove run rove_teleop keys DIR suit_1     keys of an operator device: DIR/operators/suit_1.key(_secret)

The receiver keeps receiver.key_secret and operators/*.key; a device gets receiver.key and its own .key_secret. Whoever
has no key in `operators` gets nothing in.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import zmq.auth

RECEIVER, OPERATORS = "receiver", "operators"


class KeyFileError(ValueError):
    """A key file is missing or unusable; the message says which and how to make it."""


@dataclass(frozen=True)
class Keys:
    """Key pair of one end (Z85, 40 bytes each) and the receiver's public key."""

    public: bytes
    secret: bytes
    receiver: bytes


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise KeyFileError(
            f"no usable CURVE key at {path} ({error}); make one with `rove run rove_teleop keys {path.parent}`"
        ) from error


def receiver_keys(directory: str | Path) -> Keys:
    """The receiver's keys from DIR/receiver.key_secret. Raises KeyFileError, also when no operator is admitted."""
    directory = Path(directory).expanduser()
    public, secret = _read(directory / f"{RECEIVER}.key_secret")
    if secret is None:
        raise KeyFileError(
            f"{directory / RECEIVER}.key_secret has no secret key; make one with `rove run rove_teleop keys "
            f"{directory}`"
        )
    if not list((directory / OPERATORS).glob("*.key")):
        raise KeyFileError(
            f"no operator is admitted in {directory / OPERATORS}; make one with `rove run rove_teleop keys "
            f"{directory} NAME`"
        )
    return Keys(public, secret, public)


def operator_keys(directory: str | Path, name: str) -> Keys:
    """An operator device's keys and the receiver's public key."""
    directory = Path(directory).expanduser()
    public, secret = _read(directory / OPERATORS / f"{name}.key_secret")
    if secret is None:
        raise KeyFileError(f"{directory / OPERATORS / name}.key_secret has no secret key")
    return Keys(public, secret, _read(directory / f"{RECEIVER}.key")[0])


def make(directory: str | Path, name: str | None = None) -> Path:
    """Make the receiver's keys (name None) or an operator's; refuses to overwrite. Returns the secret key's path (mode
    0600).
    """
    directory = Path(directory).expanduser()
    folder = directory if name is None else directory / OPERATORS
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(directory, 0o700)
    stem = RECEIVER if name is None else name
    if Path(stem).name != stem or stem in ("", ".", ".."):
        raise KeyFileError(f"{stem!r} is not a name for a key file")
    if (folder / f"{stem}.key_secret").exists():
        raise KeyFileError(f"{folder / stem}.key_secret exists already; remove it first to replace it")
    _, secret = zmq.auth.create_certificates(folder, stem)
    os.chmod(secret, 0o600)
    return Path(secret)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("name", nargs="?", help="operator device; without it the receiver's own keys")
    options = parser.parse_args()
    try:
        print(make(options.directory, options.name))
    except KeyFileError as error:
        parser.exit(2, f"error: {error}\n")
    return 0
