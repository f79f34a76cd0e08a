"""The meta-gradient against finite differences, the Fisher-vector product against the exact Hessian of the KL."""

from dataclasses import replace

import pytest
import torch
from small_problems import CHOOSING, NETWORK, small_objective, small_parameters, small_terms
from torch.autograd.functional import hessian

from metarl.core.clock import Clock
from metarl.policies.methods import STEP_SIZES
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.rl.objective import MetaObjective
from metarl.rl.outer import trust_region_step
from metarl.rl.settings import TrainSettings
from metarl.rl.terms import TaskTerms
from metarl.rl.trpo import natural_step
from metarl.rl.vectors import flatten, split

CASES = [("maml", 1), ("maml", 2), ("anil", 1), ("boil", 2), ("maml++", 1), ("maml++", 2), ("p-meta-layers", 1)]
CASES += [("cavia", 1), ("cavia", 2)]


def numeric_gradient(objective: MetaObjective, parameters: Parameters, epsilon: float = 1e-6) -> torch.Tensor:
    """Central differences of the loss that ``measure`` gives, one meta-parameter at a time."""
    objective.gradient(parameters)  # which ``measure`` measures from
    size = sum(parameters[name].numel() for name in objective.trained)
    slopes = []
    for unit in torch.eye(size, dtype=torch.float64) * epsilon:
        below, above = (objective.measure(objective.displaced(parameters, step)).loss for step in (unit, -unit))
        slopes.append((above - below) / (2 * epsilon))
    return torch.tensor(slopes, dtype=torch.float64)


@pytest.mark.parametrize("network", [NETWORK, CHOOSING], ids=["vectors", "choices"])
@pytest.mark.parametrize(("method", "inner_steps"), CASES)
def test_second_order_meta_gradient_equals_finite_differences(
    method: str, inner_steps: int, network: PolicyNetwork
) -> None:
    parameters = small_parameters(method, inner_steps, network=network)
    objective = small_objective(method, inner_steps, network=network)
    gradient = objective.gradient(parameters).trained
    torch.testing.assert_close(gradient, numeric_gradient(objective, parameters), atol=1e-7, rtol=1e-5)


def test_first_order_gradient_leaves_the_second_derivatives_out() -> None:
    parameters = small_parameters()
    exact = small_objective().gradient(parameters).trained
    first = small_objective(first_order=True).gradient(parameters).trained
    assert (exact - first).norm() > 1e-3 * exact.norm()

    def at_the_adapted_point(terms: TaskTerms, names: tuple[str, ...]) -> torch.Tensor:
        """Adapts first, and differentiates with the adapted policy as the starting point."""
        gradients = []
        for task in terms.tasks:
            single = TaskTerms(terms.network, terms.method, False, [task._replace(support=())], terms.executor)
            adapted = adapted_parameters(terms, parameters, task.support)
            gradients.append(single.gradients(adapted, names).gradients[0])
        return torch.stack(gradients).mean(dim=0)

    torch.testing.assert_close(first, at_the_adapted_point(small_terms(), small_objective().trained))


def adapted_parameters(terms: TaskTerms, parameters: Parameters, support: tuple) -> Parameters:
    from metarl.inner_loop import as_leaves, inner_step

    for step, batch in enumerate(support):
        parameters = as_leaves(
            inner_step(terms.network, as_leaves(parameters), terms.method, step, batch, False).parameters
        )
    return {name: tensor.detach() for name, tensor in parameters.items()}


@pytest.mark.parametrize("network", [NETWORK, CHOOSING], ids=["vectors", "choices"])
@pytest.mark.parametrize(("method", "inner_steps"), CASES)
def test_fisher_product_equals_the_exact_hessian_of_the_kl(
    method: str, inner_steps: int, network: PolicyNetwork
) -> None:
    parameters = small_parameters(method, inner_steps, network=network)
    objective = small_objective(method, inner_steps, network=network)
    terms = small_terms(method, inner_steps, network=network)
    terms.gradients(parameters, objective.trained)
    start = flatten([parameters[name] for name in objective.trained])

    def divergence(vector: torch.Tensor) -> torch.Tensor:
        parts = split(vector, [parameters[name] for name in objective.trained])
        moved = parameters | dict(zip(objective.trained, parts, strict=True))
        divergences = [
            before.kl_divergence(terms.query_distribution(moved, task, differentiable=True), task.query.valid)
            for task, before in zip(terms.tasks, terms.adapted, strict=True)
        ]
        return torch.stack(divergences).mean()

    exact = hessian(divergence, start)
    product = objective.fisher_product(parameters, fraction=1.0, damping=0.0)
    columns = torch.stack([product(unit) for unit in torch.eye(len(start), dtype=torch.float64)])
    torch.testing.assert_close(columns, exact, atol=1e-9, rtol=1e-7)


def test_damping_and_fraction() -> None:
    parameters, vector = small_parameters(), torch.ones(55, dtype=torch.float64)
    objective = small_objective(tasks=4)
    undamped = objective.fisher_product(parameters, 0.5, 0.0)(vector)
    torch.testing.assert_close(objective.fisher_product(parameters, 0.5, 0.1)(vector), undamped + 0.1)
    half = small_objective(tasks=2)
    torch.testing.assert_close(half.fisher_product(parameters, 1.0, 0.0)(vector), undamped)


def test_the_natural_step_moves_the_policies_by_the_limit() -> None:
    parameters, objective = small_parameters(), small_objective()
    gradient, _, loss = objective.gradient(parameters)
    product = objective.fisher_product(parameters, 1.0, 0.0)
    step = natural_step(product, gradient, max_kl=1e-6, cg_iterations=60)
    measured = objective.measure(objective.displaced(parameters, step))
    assert measured.loss < loss
    assert measured.kl == pytest.approx(1e-6, rel=0.02)
    assert objective.measure(parameters).kl == 0


def with_penalty(penalty: float) -> tuple[MetaObjective, Parameters]:
    """Return an objective whose step sizes have a Lasso, and parameters of which the second step size is zero."""
    objective, parameters = small_objective("p-meta-layers"), small_parameters("p-meta-layers")
    step_sizes = parameters[STEP_SIZES].clone()
    step_sizes[0, 1] = 0
    return replace(objective, penalty=torch.full_like(step_sizes, penalty)), parameters | {STEP_SIZES: step_sizes}


def slopes_of(objective: MetaObjective, parameters: Parameters, flat: torch.Tensor) -> torch.Tensor:
    return dict(zip(objective.trained, split(flat, [parameters[name] for name in objective.trained]), strict=True))[
        STEP_SIZES
    ]


def test_the_penalty_is_part_of_loss_and_gradient() -> None:
    objective, parameters = with_penalty(0.7)
    plain = replace(objective, penalty=None)
    gradient, without = objective.gradient(parameters), plain.gradient(parameters)
    assert gradient.loss - without.loss == pytest.approx(0.7 * float(parameters[STEP_SIZES].sum()))
    difference = slopes_of(objective, parameters, gradient.trained - without.trained)
    torch.testing.assert_close(difference, torch.full_like(difference, 0.7))
    loss = objective.measure(parameters).loss
    assert loss - plain.measure(parameters).loss == pytest.approx(gradient.loss - without.loss)


def test_no_step_goes_below_zero_and_what_is_held_there_takes_no_part() -> None:
    objective, parameters = with_penalty(1e3)
    gradient = objective.gradient(parameters).trained
    free = slopes_of(objective, parameters, objective.free(parameters, gradient))
    assert free.tolist() == [[1, 0, *[1] * (free.shape[1] - 2)]]
    moved = objective.displaced(parameters, gradient)
    assert (moved[STEP_SIZES] == 0).all()
    plain = replace(objective, penalty=torch.zeros_like(free))
    slopes = slopes_of(objective, parameters, plain.gradient(parameters).trained)
    rises = slopes_of(objective, parameters, plain.free(parameters, plain.gradient(parameters).trained))
    assert rises[0, 1] == (slopes[0, 1] < 0)  # without a penalty it is free if the surrogate falls with it


def test_a_layer_that_gains_less_than_the_penalty_ends_at_exactly_zero() -> None:
    """Repeated trust-region steps on the same data."""
    objective, parameters = with_penalty(0.5)
    settings = TrainSettings(max_kl=0.05, fisher_fraction=1.0)
    for _ in range(30):
        gradient, search = trust_region_step(objective, parameters, (), settings, Clock())
        assert search.measured.loss <= gradient.loss
        parameters = objective.displaced(parameters, search.step)
    assert (parameters[STEP_SIZES] == 0).any()
