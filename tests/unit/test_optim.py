"""Optimisers and schedules against their definitions."""

import pytest
import torch

from speechrep.errors import InputError
from speechrep.train.bert_adam import BertAdam
from speechrep.train.optim import OPTIMIZERS, build_optimizer, lr_factor, set_lr


def quadratic(name, steps=200, lr=0.05):
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    optimizer = build_optimizer(name, [{"params": list(layer.parameters())}], lr, weight_decay=0.0)
    target, x = torch.randn(16, 3), torch.randn(16, 4)
    losses = []
    for _ in range(steps):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_descends(name):
    losses = quadratic(name, lr=1.0 if name == "adadelta" else 0.05)
    assert losses[-1] < 0.8 * losses[0]


def test_momenta():
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    made = {name: make([{"params": [parameter]}], 0.1).defaults for name, make in OPTIMIZERS.items()}
    assert made["sgd"]["momentum"] == 0.9
    assert {made[name]["betas"] for name in ("adam", "adamw", "bert_adam")} == {(0.9, 0.999)}
    assert made["bert_adam"]["eps"] == 1e-6


def test_matrices_are_decayed_and_vectors_are_not():
    layer = torch.nn.Linear(4, 3)
    groups = [{"params": [layer.weight], "lr": 0.5}, {"params": [layer.bias]}]
    optimizer = build_optimizer("adamw", groups, 0.1, weight_decay=0.01)
    told = [
        (group["params"][0].ndim, group["peak_lr"], group["weight_decay"]) for group in optimizer.param_groups
    ]
    assert told == [(2, 0.5, 0.01), (1, 0.1, 0.0)]
    assert set_lr(optimizer, 0.5) == 0.25 and optimizer.param_groups[1]["lr"] == 0.05
    with pytest.raises(InputError, match="known are"):
        build_optimizer("lion", groups, 0.1, 0.0)


def test_bert_adam_step_by_hand():
    """m and v from zero, no bias correction, decay in the update, the tensor's gradient clipped to norm 1."""
    p = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = BertAdam([p], lr=0.1, weight_decay=0.01)
    m, v, expected = torch.zeros(2), torch.zeros(2), p.detach().clone()
    for grad in (torch.tensor([0.3, 0.4]), torch.tensor([3.0, 4.0])):
        p.grad = grad.clone()
        optimizer.step()
        clipped = grad / max(1.0, grad.norm().item())
        m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
        expected = expected - 0.1 * (m / (v.sqrt() + 1e-6) + 0.01 * expected)
        torch.testing.assert_close(p.detach(), expected)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", {0: 0.1, 9: 1.0, 10: 1.0, 55: 0.5, 99: 1 / 90}),
        ("linear_from_0", {0: 0.0, 9: 0.9, 10: 1.0, 55: 0.5}),
        ("constant", {0: 0.1, 9: 1.0, 99: 1.0}),
        ("cosine", {9: 1.0, 10: 1.0, 55: 0.5, 99: 0.0003}),
    ],
)
def test_schedules(schedule, expected):
    for step, factor in expected.items():
        assert lr_factor(schedule, step, 10, 100) == pytest.approx(factor, abs=1e-4)
    assert lr_factor(schedule, 0, 0, 100) == 1.0
