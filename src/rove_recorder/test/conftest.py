# SPDX-License-Identifier: Apache-2.0
"""Real disks for the crash tests: a small tmpfs, and an ext4 on a loop device that can stand still or lose its power.
Needs root.
"""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW of linux/fs.h: every write waits until the thaw
CUT = 0x8004587D  # EXT4_IOC_SHUTDOWN
WITHOUT_LOG = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk now never gets there


def mounted(folder, *arguments):
    """Mounts on `folder`. Skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *map(str, arguments), str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a root that may mount: {done.stderr.strip()}")


@pytest.fixture
def shared_memory():
    """Removes what killed processes leave of Fast DDS in /dev/shm, half a megabyte each: segments whose lock nobody
    holds any more.
    """
    folder, before = Path("/dev/shm"), time.time()
    yield
    for lock in folder.glob("fastrtps_" + "?" * 16 + "_el"):
        try:
            if not before < lock.stat().st_mtime < time.time() - 2.0:  # another process may just be creating it
                continue
            with open(lock) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.with_name(lock.name[: -len("_el")]).unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        except OSError:  # in use, or gone
            continue


@pytest.fixture
def tmpfs(tmp_path):
    """(megabytes) -> a disk of that size, mounted."""
    folder, used = tmp_path / "disk", []

    def make(megabytes):
        if os.geteuid() != 0:
            pytest.skip("needs root: mounts a tmpfs")
        mounted(folder, "-t", "tmpfs", "-o", f"size={round(megabytes * 2**20)}", "tmpfs")
        used.append(folder)
        return folder

    yield make
    for folder in used:
        subprocess.run(["umount", str(folder)], check=True)


class Ext4:
    """An ext4 of 24 MB in a file, mounted at `folder`."""

    def __init__(self, folder):
        if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
            pytest.skip("needs root and mkfs.ext4: mounts an ext4 on a loop device")
        self.folder, self.image = folder, folder.with_suffix(".img")
        with open(self.image, "wb") as file:
            file.truncate(24 * 2**20)
        subprocess.run(["mkfs.ext4", "-q", str(self.image)], check=True)
        self.mount()

    def mount(self):
        mounted(self.folder, "-o", "loop", self.image)

    def unmount(self):
        subprocess.run(["umount", str(self.folder)], check=True)

    def control(self, request, value=0):
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, request, struct.pack("I", value))
        finally:
            os.close(descriptor)

    def freeze(self):
        """From here on every write to the disk waits."""
        self.control(FREEZE)

    def thaw(self):
        self.control(THAW)

    def cut_power(self):
        """From here on nothing reaches the disk, its journal neither; `mount` again is the next boot."""
        self.control(CUT, WITHOUT_LOG)


@pytest.fixture
def ext4(tmp_path):
    """An `Ext4`, mounted."""
    disk = Ext4(tmp_path / "disk")
    yield disk
    with contextlib.suppress(OSError):  # it is not frozen any more
        disk.thaw()
    disk.unmount()
