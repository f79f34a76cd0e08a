"""Every method learns: on a point that cannot see its target, adaptation must find out from the rewards where it is.

Targets are uniform in [-1, 1], an episode has ten steps and a reward of minus the distance. A point that stays where
it starts, near 0, gets -5 on average, which is also the best that can be done before adaptation.
"""

from __future__ import annotations

import pytest
from point_family import point_family

import metarl
from metarl.policies.methods import METHODS
from metarl.rl.settings import preset


@pytest.mark.parametrize("method", METHODS)
def test_adaptation_is_learned_in_thirty_iterations(method: str) -> None:
    family = point_family(horizon=10)
    settings = preset(
        family.name,
        method=method,
        iterations=30,
        meta_batch_size=10,
        episodes_per_task=10,
        hidden_sizes=(8,),
        action_scale=0.3,
        max_kl=0.05,
        fisher_fraction=0.5,
        lasso=0.0005,
    )
    controller = metarl.train(family, settings=settings)
    before, *_, after = metarl.evaluate(controller, tasks=100, seed=5, family=family).intervals()
    assert before.mean < -4.5
    assert after.mean > -3.2  # an untrained policy gets about -6.4
