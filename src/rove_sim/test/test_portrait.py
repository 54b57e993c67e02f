# SPDX-License-Identifier: Apache-2.0
"""Pictures for people show a robot in its shell; what a policy sees and the physics know nothing of it."""

import hashlib

import mujoco
import numpy as np
import pytest

from rove_description import shell
from rove_sim.portrait import Portrait
from rove_sim.tasks import task as tasks

STEPS = 5
# All that a policy's cameras draw, of the nominal model. A change makes scene weights that were trained on these
# pictures worthless: only where that is meant does another digest belong here.
SEEN = ("geom_type", "geom_size", "geom_pos", "geom_quat", "geom_rgba", "geom_group", "geom_matid", "mat_rgba")
SEEN += ("mat_texid", "body_pos", "body_quat", "light_pos", "light_diffuse", "light_castshadow", "cam_pos", "cam_fovy")
DIGESTS = {"erase_whiteboard": "9f8e3d5dec6cbc42", "toast_bread": "0f5ac9ad32c2bc64"}


def digest(model) -> str:
    """Of the model's appearance, to the micrometre."""
    quality = [getattr(model.vis.quality, name) for name in ("shadowsize", "offsamples", "numslices", "numstacks")]
    seen = hashlib.sha256(repr(quality).encode())
    for field in SEEN:
        seen.update(field.encode() + (np.asarray(getattr(model, field), dtype=np.float64).round(6) + 0.0).tobytes())
    return seen.hexdigest()[:16]


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_what_a_policy_sees_is_what_scene_weights_were_trained_on(task):
    assert digest(task.make_world(16).build().compile()) == DIGESTS[task.name]


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_a_portrait_changes_neither_the_policys_pictures_nor_the_physics(task):
    alone, watched = task.make_world(48, 7), task.make_world(48, 7)
    portrait = Portrait(watched, 64)
    for _ in range(STEPS):
        for world in (alone, watched):
            world.step(world.q + 0.01)
        portrait.render()
        assert np.array_equal(alone.qpos, watched.qpos)
        for camera in ("ego", "right_wrist"):
            assert np.array_equal(alone.render(camera), watched.render(camera)), camera
    for drawer in (portrait, alone, watched):
        drawer.close()


def test_a_portrait_follows_what_a_seed_draws():
    world = tasks.ERASE_WHITEBOARD.make_world(48, 1)
    portrait = Portrait(world, 48)
    model, drawn = portrait.model, world.model
    for seed in (1, 2):
        world.reset(seed)
        before = portrait.render(camera="ego").astype(int)
        for name in ("plate", "board", "felt", "floor"):
            assert np.array_equal(model.geom(name).rgba, drawn.geom(name).rgba), name
            assert np.array_equal(model.geom(name).size, drawn.geom(name).size), name
        floor = drawn.geom("floor").matid[0]
        assert model.geom("floor").matid[0] == floor and model.mat(floor).name == drawn.mat(floor).name
        assert np.abs(before - world.render("ego").astype(int)).mean() < 40  # the same scene, brighter
    for drawer in (portrait, world):
        drawer.close()


def test_a_shell_has_neither_mass_nor_contact_and_hides_what_it_covers():
    world = tasks.TOAST_BREAD.make_world(16)
    model = Portrait(world).model
    shells = model.geom_group == shell.SHELL_GROUP
    assert shells.sum() > 50
    assert not model.geom_contype[shells].any() and not model.geom_conaffinity[shells].any()
    assert np.array_equal(model.body_mass, world.build().compile().body_mass)
    palm = model.geom("right_palm")
    assert palm.group == shell.BARE_GROUP
    world.close()


def test_a_loft_is_closed_and_faces_outwards():
    vertices, faces = shell.loft([(0.1, 0, 0, 0.05, 0.03), (0.0, 0, 0, 0.06, 0.03), (-0.1, 0, 0, 0.02, 0.02)])
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, shared = np.unique(edges, axis=0, return_counts=True)
    assert (shared == 2).all()
    corners = vertices[faces]
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 0
    with pytest.raises(ValueError, match="highest z to the lowest"):
        shell.loft([(0.0, 0, 0, 1, 1), (0.1, 0, 0, 1, 1)])


def test_shells_fit_the_robot_they_are_made_for_only():
    spec = mujoco.MjSpec()
    with pytest.raises(ValueError, match="IRON-R01 only"):
        shell.dress(spec)
