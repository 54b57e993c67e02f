# SPDX-License-Identifier: Apache-2.0
"""Files are whole or absent, and no path leaves its folder."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rove_contract import files


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, durable):
    path = tmp_path / "state.json"
    files.write(path, "old", durable=durable)
    with pytest.raises(KeyError), files.replaced(path, durable=durable) as part:
        part.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["state.json"]
    files.write(path, b"new", durable=durable)
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["state.json"]


def test_a_durable_file_and_its_folder_are_synced_before_and_after_it_takes_its_place(tmp_path, monkeypatch):
    seen = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append("replace"), replace(a, b)))
    files.write(tmp_path / "a.txt", "x")
    part, moved, folder = seen
    assert part.endswith(".part.txt") and moved == "replace" and folder == str(tmp_path)


def test_permissions_are_kept_and_new_files_have_the_usual_ones(tmp_path):
    (tmp_path / "secret").touch(0o600)
    files.write(tmp_path / "secret", "x")
    files.write(tmp_path / "new", "x")
    (tmp_path / "usual").touch()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes["secret"] == 0o600 and modes["new"] == modes["usual"]


def test_a_link_with_the_name_of_a_new_version_cannot_be_guessed_nor_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "a").symlink_to(outside)
    files.write(tmp_path / "a", "x")
    assert outside.read_text() == "mine" and not (tmp_path / "a").is_symlink()
    with pytest.raises(FileExistsError):
        (tmp_path / "b").symlink_to(outside)
        files.open_new(tmp_path / "b")


@pytest.mark.parametrize("path", ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a\0b", "..\\x", "x" * 300])
def test_paths_that_leave_their_folder_are_refused(tmp_path, path):
    with pytest.raises(files.UnsafePath):
        files.inside(tmp_path, path)


def test_links_are_refused_wherever_they_stand_but_not_above_the_folder(tmp_path):
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert files.inside(tmp_path / "root", "sub/new/file") == tmp_path / "root" / "sub/new/file"
    (tmp_path / "real" / "link").symlink_to(tmp_path)
    for path in ("link", "link/x"):
        with pytest.raises(files.UnsafePath, match="symbolic link"):
            files.inside(tmp_path / "root", path)
    (tmp_path / "real" / "file").touch()
    with pytest.raises(files.UnsafePath, match="through a file"):
        files.inside(tmp_path / "root", "file/x")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "~", "link", "\0", "/"]), max_size=6))
def test_whatever_is_allowed_lies_inside(tmp_path_factory, parts):
    root = tmp_path_factory.getbasetemp() / "inside"
    root.mkdir(exist_ok=True)
    if not (root / "link").is_symlink():
        (root / "link").symlink_to(root.parent)
    try:
        place = files.inside(root, "/".join(parts))
    except files.UnsafePath:
        return
    assert place.resolve().is_relative_to(root.resolve()) and place.resolve() != root.resolve()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\0b", "x" * 300, "ü" * 101])
def test_what_is_more_than_a_name_is_refused(name):
    with pytest.raises(files.UnsafePath, match="episode id"):
        files.name(name, "episode id")


def test_clearing_a_folder_removes_links_and_never_what_they_name(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "outside")
    files.clear(tmp_path / "folder")
    assert not os.listdir(tmp_path / "folder") and (tmp_path / "outside" / "kept").exists()
    (tmp_path / "folder2").symlink_to(tmp_path / "outside")
    for use in (files.clear, files.open_folder):
        with pytest.raises(files.UnsafePath, match="symbolic link"):
            use(tmp_path / "folder2")
    assert (tmp_path / "outside" / "kept").exists()
