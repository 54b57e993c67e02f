# SPDX-License-Identifier: Apache-2.0
"""The losses' gradients through the whole models, against finite differences in float64; no gradient where none
belongs.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_learning.algorithm.losses import mc_loss, ove_loss
from rove_learning.models.actor import Actor, flow_matching_loss
from rove_learning.models.backbone import Pictures
from rove_learning.models.critic import Critic
from rove_learning.testing.synthetic import ACTOR, CRITIC
from rove_learning.training.batches import BatchPart
from rove_learning.training.phases import frozen_copy

TEXT = "erase the whiteboard"


@pytest.fixture(autouse=True)
def float64():
    """Pictures become float32 in the backbone, so the default type is switched, not only the models."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def observation(n, seed, conditions=()):
    images = torch.randint(0, 256, (n, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Pictures(images, [TEXT] * n, conditions)


def context(model, seed, conditions=()):
    """Tokens in float64: the compact backbone computes pixels in float32."""
    model.backbone.float()
    found = model.backbone(*observation(3, seed, conditions))
    parts = tuple((tokens.detach().double(), mask) for tokens, mask in found.conditions)
    return replace(found, tokens=found.tokens.detach().double(), conditions=parts)


def assert_gradient(loss, parameter, count=4):
    """Central differences of some entries of the parameter."""
    parameter.grad = None
    loss().backward()
    flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
    for i in torch.linspace(0, len(flat) - 1, count).long().tolist():
        before, step = flat[i].item(), 1e-6
        values = []
        for sign in (1, -1):
            flat[i] = before + sign * step
            values.append(loss().item())
        flat[i] = before
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(gradient[i].item(), rel=1e-4, abs=1e-8)


def critic():
    torch.manual_seed(0)
    model = Critic(CRITIC)
    torch.nn.init.normal_(model.head.out.weight, std=0.2)
    return model


def test_mc_loss_gradient():
    model = critic()
    seen, returns = context(model, 1), torch.tensor([-0.9, -0.4, -0.1])
    for parameter in (model.head.out.weight, model.head.project.weight, model.head.query):
        assert_gradient(lambda: mc_loss(model(seen), returns), parameter)


def test_ove_loss_gradient_and_none_into_the_target_critic():
    model = critic()
    target, seen, ahead = frozen_copy(model), context(model, 1), context(model, 2)
    sums, discount = torch.tensor([-0.02, -0.02, -0.6]), torch.tensor([1.0, 1.0, 0.0])
    for parameter in (model.head.out.weight, model.head.out.bias, model.head.project.weight):
        assert_gradient(lambda: ove_loss(model(seen), sums, discount, target.value(ahead), 0.7), parameter)
    assert all(p.grad is None for p in target.parameters())


@pytest.mark.parametrize("predict", ["clean", "velocity"])
def test_flow_matching_gradient(predict):
    torch.manual_seed(0)
    model = Actor(replace(ACTOR, predict=predict, chunk=6), joints=5)
    torch.nn.init.normal_(model.head.out.weight, std=0.2)
    seen = context(model, 1, (["good", "bad", "good"],))
    actions, noise = torch.randn(3, 6, 5), torch.randn(3, 6, 5)
    state, visible, t = torch.randn(3, 5), torch.tensor([True, False, True]), torch.tensor([0.1, 0.5, 0.9])
    weight = torch.ones(3, 6, 5)
    weight[0, 4:] = 0.0

    def loss():
        return flow_matching_loss(model, seen, state, visible, actions, weight, t, noise, predict)

    for parameter in (
        model.head.out.weight,
        model.head.state.weight,
        model.head.mask_token,
        model.head.condition.weight,
    ):
        assert_gradient(loss, parameter)


def test_steps_past_the_episode_do_not_count():
    torch.manual_seed(0)
    model = Actor(replace(ACTOR, chunk=6), joints=5)
    torch.nn.init.normal_(model.head.out.weight, std=0.2)
    seen = context(model, 1, (["good"] * 3,))
    actions, noise, weight = torch.randn(3, 6, 5), torch.randn(3, 6, 5), torch.ones(3, 6, 5)
    weight[:, 4:] = 0.0
    noisy = torch.rand(3)
    arguments = (torch.randn(3, 5), torch.ones(3, dtype=torch.bool))
    prediction = model(seen, torch.lerp(noise, actions, noisy[:, None, None]), noisy, *arguments)
    expected = ((prediction - actions)[:, :4] ** 2).mean()
    loss = flow_matching_loss(model, seen, *arguments, actions, weight, noisy, noise, "clean")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)


def test_parts_of_a_step_are_the_rows_of_one_global_batch():
    whole, parts = BatchPart((0, 1, 2)), [BatchPart((0, 1, 2), i, 2) for i in range(2)]
    np.testing.assert_array_equal(whole.rng().random(8), parts[1].rng().random(8))
    rows = [part.normal(part.rows(4), (3,)) for part in parts]
    np.testing.assert_array_equal(np.concatenate(rows), whole.normal(whole.rows(8), (3,)))
    assert len(np.unique(np.concatenate(rows)[:, 0])) == 8
