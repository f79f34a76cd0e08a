"""Attention's outer step under a limit of its own."""

import pytest
import torch

from metarl.adam import initial_moments
from metarl.policies.networks.network import Parameters
from metarl.rl.attention_step import attention_step
from metarl.rl.objective import MetaGradient, MetaObjective
from metarl.rl.settings import TrainSettings
from metarl.rl.trpo import Measured


@pytest.mark.parametrize(("divergence", "improves", "length"), [(1.0, True, 1.0), (4.0, True, 0.5), (1.0, False, 0.0)])
def test_a_step_alone_stays_within_its_limit_and_improves(
    divergence: float, improves: bool, length: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(attention_lr=0.1, attention_kl=0.1, max_kl=0.1, line_search_steps=5, line_search_ratio=0.5)
    name, start = "attention.layer1.forward.fc2.bias", torch.zeros(3)
    # Adam's first step is its rate against the sign of the gradient.
    gradient = MetaGradient(torch.zeros(0), {name: torch.tensor([2.0, -1.0, 3.0])}, 0.0)

    def measure(_: MetaObjective, parameters: Parameters) -> Measured:
        moved = float(parameters[name].norm() / 0.03**0.5)  # in lengths of Adam's step
        # At the limit of 0.01 within rounding: a step of Adam alone causes 0.0099 times ``divergence``.
        return Measured(-moved if improves else moved, 0.0099 * divergence * moved**2)

    monkeypatch.setattr(MetaObjective, "measure", measure)
    objective = MetaObjective((), 1, None)  # type: ignore[arg-type]
    moved, moments, search = attention_step(
        objective, {name: start}, gradient, initial_moments({name: start}), settings
    )
    torch.testing.assert_close(moved[name], length * torch.tensor([-0.1, 0.1, -0.1]), atol=1e-6, rtol=0)
    assert search.accepted == improves and moments["count"] == 1
