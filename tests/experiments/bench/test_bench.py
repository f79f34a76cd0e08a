"""That the benchmarks measure what they say, on tiny sizes; how fast anything is stays out of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import mujoco
import numpy as np
import pytest
import torch
from command_line import metarl
from gymnasium.wrappers import TimeLimit

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.envs.registry import FAMILIES, get_family
from metarl.experiments.bench import images, iteration, measure, peers, sampling
from metarl.experiments.bench.measure import Scale, rates_in_turn, ratio_of, sampling_job, spread
from metarl.experiments.bench.robots import ENVIRONMENTS, environment_of, make_robot
from metarl.experiments.bench.vector_environments import PEERS, Peer, make_policy
from metarl.images.iteration import meta_gradient
from metarl.images.tasks import ImageTask
from metarl.rl.logs import PHASES
from metarl.rl.settings import preset

TINY = Scale(tasks=3, episodes=2, horizon=8)


def test_ratio_of_medians_and_of_turns():
    result = ratio_of([1.0, 6.0, 2.0], [4.0, 8.0, 2.0])
    assert result == {"ratio": 0.5, "ratio_min": 0.25, "ratio_max": 1.0}
    assert spread([5.0, 1.0, 2.0, 4.0]) == {"median": 3.0, "min": 1.0, "max": 5.0}


def test_work_takes_turns_after_a_warm_up(monkeypatch):
    now, turns = 0.0, []

    def work(name, seconds, steps):
        nonlocal now
        turns.append(name)
        now += seconds if len(turns) > 2 else 100.0
        return steps

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now)
    rates = rates_in_turn({"a": partial(work, "a", 2.0, 10), "b": partial(work, "b", 4.0, 60)}, repetitions=3)
    assert turns == ["a", "b"] * 4
    assert rates == {"a": [5.0] * 3, "b": [15.0] * 3}


def test_full_scale_is_that_of_training():
    settings = preset(measure.FAMILY)
    family = measure.get_family(measure.FAMILY)
    assert Scale() == Scale(settings.meta_batch_size, settings.episodes_per_task, settings.horizon or family.horizon)


@pytest.mark.parametrize("module", [sampling, iteration, peers])
@pytest.mark.parametrize(("threads", "used"), [(3, 3), (None, available_threads())])
def test_run_measures_at_full_scale(monkeypatch, module, threads, used):
    monkeypatch.setattr(module, "measure", lambda *arguments, **named: arguments)
    arguments = module.run(threads)
    assert Scale() in arguments
    assert used in arguments


# --- sampling


@pytest.fixture(scope="module")
def falling():
    """A scale at which some episodes end before the horizon."""
    return Scale(tasks=3, episodes=2, horizon=40, name="hopper-velocity")


def test_sampling_result(capsys):
    result = sampling.measure(TINY, threads=2, repetitions=2)
    parts = result["parts"]
    assert set(parts) == {"sampler", "ceiling", "calls"}
    assert result["ratio"] == parts["sampler"]["median"] / parts["ceiling"]["median"] > 0
    assert result["over_calls"]["ratio"] == parts["sampler"]["median"] / parts["calls"]["median"]
    assert "over_one_model" not in result
    assert result["torch_threads"] == 1
    assert (result["family"], result["simulated"]) == ("half-cheetah-velocity", 1.0)
    assert json.loads(json.dumps(result)) == result
    sampling.show(result)
    assert f"{result['ratio']:.2f}" in capsys.readouterr().out


def test_models_of_tasks_are_compared_with_one(capsys):
    result = sampling.measure(replace(TINY, name="half-cheetah-dynamics"), threads=1, repetitions=1)
    parts, ratio = result["parts"], result["over_one_model"]
    assert set(parts) == set(sampling.LABELS)
    assert ratio["ratio"] == parts["models"]["median"] / parts["one model"]["median"]
    sampling.show(result)
    assert "a model per task / one model" in capsys.readouterr().out


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_what_is_replayed_is_what_the_sampler_does(scale):
    """Final states and controls against the episodes of a sampler with two threads, and those against the bounds."""
    job = sampling_job(TINY, threads=2)
    job = replace(job, settings=replace(job.settings, action_scale=scale))
    with job.sampler() as sampler:
        episodes = job.sample(sampler)
    recorder = sampling.record(job)
    controls = np.stack(recorder.controls)
    assert controls.shape == (8, 6, 6)
    start = recorder.simulator.reset(recorder.tasks, recorder.seeds)
    np.testing.assert_array_equal(start.astype(np.float32), episodes.observations[:, :, 0].numpy())
    np.testing.assert_array_equal(recorder.batch.state, recorder.start)
    actions = episodes.actions.flatten(0, 1).transpose(0, 1).numpy()
    np.testing.assert_array_equal(controls, np.clip(scale * actions.astype(np.float64), -1, 1))
    assert (controls == 1).any()
    assert (np.abs(scale * actions) > 1).any()


@pytest.mark.parametrize("threads", [1, 2])
def test_replay_is_the_physics(threads, falling):
    """Both replays against a loop of mj_step that stops where the episode does."""
    recorder = sampling.record(sampling_job(falling, threads))
    running = np.stack(recorder.running)
    assert len(sampling.segments(recorder.controls, recorder.running, 4)) > 1
    assert running[0].all()
    assert not running[-1].all()
    replay = sampling.Replay(recorder, threads)
    for in_calls in (replay.in_few_calls, replay.in_many_calls):
        assert in_calls() == replay.steps() == running.sum()
        for episode in range(6):
            model, data = recorder.simulator.model, mujoco.MjData(recorder.simulator.model)
            mujoco.mj_setState(model, data, recorder.start[episode], mujoco.mjtState.mjSTATE_INTEGRATION)
            for step in range(running[:, episode].sum()):
                data.ctrl[:] = recorder.controls[step][episode]
                mujoco.mj_step(model, data, nstep=4)
            np.testing.assert_array_equal(replay.batch.qpos[episode], data.qpos)


def test_the_replay_of_episodes_that_end_is_the_samplers(falling):
    assert sampling.measure(falling, threads=1, repetitions=1)["simulated"] < 1


def test_segments_by_hand():
    running = [np.array(row, dtype=bool) for row in ([1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 0])]
    controls = [np.full((3, 1), float(time)) for time in range(4)]
    first, second = sampling.segments(controls, running, 2)
    assert (first.episodes.tolist(), second.episodes.tolist()) == ([0, 1, 2], [0, 2])
    assert first.controls[1].ravel().tolist() == [0, 0, 1, 1]
    assert second.controls.tolist() == [[[2.0], [2.0]]] * 2


@pytest.mark.parametrize("wrong", ["start", "controls"])
def test_a_replay_of_something_else_is_noticed(monkeypatch, wrong):
    def record_wrongly(job, record=sampling.record):
        recorder = record(job)
        getattr(recorder, wrong)[2][3] += 1e-3
        return recorder

    monkeypatch.setattr(sampling, "record", record_wrongly)
    with pytest.raises(RuntimeError, match="not those of the sampler"):
        sampling.measure(TINY, threads=1, repetitions=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["iteration", "--family", "ant-velocity"], "--family belongs to sampling, peers and scale"),
        (["sampling", "--family", "ant-speed"], "unknown task family 'ant-speed'"),
        (["peers", "--family", "pendulum-gravity"], "no peer simulates the robot of pendulum-gravity"),
    ],
)
def test_families_that_cannot_be_measured(arguments, sentence):
    outcome = metarl("bench", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_families_without_mujoco_are_refused():
    with pytest.raises(Refusal, match="navigation-2d has no MuJoCo physics to replay"):
        sampling.measure(replace(TINY, name="navigation-2d"), threads=1, repetitions=1)


# --- iteration


def test_iteration_result(capsys):
    result = iteration.measure(TINY, threads=2, repetitions=1)
    for of in (result, result["p_meta"]):
        assert set(of["parts"]) == {*PHASES, "rest"}
        assert sum(part["median"] for part in of["parts"].values()) == pytest.approx(of["total"]["median"])
    assert result["p_meta"]["ratio"] == result["p_meta"]["total"]["median"] / result["total"]["median"]
    assert result["ratio"] == result["total"]["median"] / result["parts"]["sampling"]["median"] > 1
    assert 50 < result["peak_rss_mib"] < 4096  # a wrong unit is off by 1024
    assert json.loads(json.dumps(result)) == result
    iteration.show(result)
    printed = capsys.readouterr().out
    assert f"{result['ratio']:.2f}" in printed
    assert "conjugate gradient" in printed


def test_the_first_iteration_is_only_a_warm_up(monkeypatch):
    iterations = {
        "maml": [(100.0, {"sampling": 1.0}), (3.0, {"sampling": 2.0}), (6.0, {"sampling": 3.0})],
        "p-meta": [(200.0, {"sampling": 1.0}), (6.0, {"sampling": 2.0}), (9.0, {"sampling": 2.0})],
    }
    monkeypatch.setattr(iteration, "peak_memory", lambda *_: 1.0)
    monkeypatch.setattr(
        iteration, "timed_iterations", lambda *arguments: iter(iterations[arguments[2]][: arguments[3]])
    )
    result = iteration.measure(TINY, threads=1, repetitions=2)
    assert result["p_meta"]["ratio"] == 7.5 / 4.5
    assert (result["p_meta"]["ratio_min"], result["p_meta"]["ratio_max"]) == (1.5, 2.0)
    assert result["total"] == {"median": 4.5, "min": 3.0, "max": 6.0}
    assert result["ratio"] == 4.5 / 2.5
    assert result["parts"]["rest"] == {"median": 2.0, "min": 1.0, "max": 3.0}


# --- peers


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_round_of_every_peer(peer):
    if find_spec(peer.package) is None:
        pytest.skip(f"{peer.package} is not installed")
    with peer.open("HalfCheetah-v5", 2, 1, 3) as a_round:
        assert a_round() == 6
        assert a_round() == 6


@pytest.mark.parametrize("environment", ENVIRONMENTS.values())
def test_peers_observe_what_ours_observe(environment):
    robot = next(robot for robot, peer in ENVIRONMENTS.items() if peer == environment)
    family = next(get_family(name) for name in FAMILIES if name.startswith(f"{robot}-"))
    peer = make_robot(environment, 8)
    assert peer.spec.max_episode_steps == 8
    assert isinstance(peer, TimeLimit)
    observation, _ = peer.reset(seed=3)
    tasks = family.sample_tasks(1, np.random.default_rng(0))
    simulator = family.make_simulator(1)
    ours = simulator.reset(tasks, np.array([[3]]))[0, 0]
    simulator.close()
    np.testing.assert_allclose(ours[: len(observation)], observation, atol=1e-12)
    peer.close()


def test_families_without_a_peer_are_refused():
    with pytest.raises(Refusal, match="no peer simulates the robot of navigation-2d: choose a family of half-cheetah"):
        environment_of("navigation-2d")


def test_policy_of_the_peers():
    policy = make_policy(17, 6)
    observations = np.random.default_rng(0).normal(size=(500, 17))
    actions = policy(observations)
    assert actions.shape == (500, 6)
    assert actions.min() == -1
    assert actions.max() == 1
    assert not np.array_equal(actions, policy(observations)), "the noise is missing"


def fake_peer(name: str, opened: list, package: str = "rich") -> Peer:
    @contextmanager
    def open_it(environment, environments, threads, horizon):
        opened.append((name, environments, threads, horizon))
        yield lambda: environments * horizon

    return Peer(name, package, lambda threads: (threads, 5 * threads, 2 * threads), open_it)


def test_peers_are_measured_at_their_best_and_skipped_if_missing(monkeypatch, capsys):
    opened: list = []
    monkeypatch.setattr(peers, "rate_of", lambda opened, _: {2: 1.0, 10: 9.0, 4: 3.0}[opened.args[1]])
    monkeypatch.setattr(
        peers,
        "rates_in_turn",
        lambda works, repetitions: {"metarl": [8.0, 12.0], "slow": [1.0, 1.0], "fast": [4.0, 5.0]},
    )
    missing = fake_peer("absent", opened, "no_such_package")
    result = peers.measure([fake_peer("slow", opened), missing, fake_peer("fast", opened)], TINY, 2, 2, 0.0)
    assert opened == [("slow", 10, 2, 8), ("fast", 10, 2, 8)]
    slow, absent, fast = result["parts"]
    assert result["fastest_peer"] == "fast"
    assert result["ratio"] == fast["ratio"] == 10 / 4.5
    assert slow["ratio"] == 10.0
    assert slow["tried"] == {"2": 1.0, "10": 9.0, "4": 3.0}
    assert "no_such_package" in absent["skipped"]
    assert json.loads(json.dumps(result)) == result
    peers.show(result)
    printed = capsys.readouterr().out
    assert "absent is skipped: the package no_such_package is not installed." in printed
    assert "2.22" in printed


def test_peers_really_run(capsys):
    """Our sampler beside one real peer."""
    sync = replace(PEERS[0], environments=lambda threads: (1, 2))
    result = peers.measure([sync], TINY, threads=1, repetitions=1, seconds=0.0)
    (part,) = result["parts"]
    assert set(part["tried"]) == {"1", "2"}
    assert result["ratio"] == result["ours"]["median"] / part["rate"]["median"] > 0
    peers.show(result)
    assert "SyncVectorEnv" in capsys.readouterr().out


def test_rounds_go_on_until_the_time_is_up(monkeypatch):
    now = 0.0

    def a_round():
        nonlocal now
        now += 0.4
        return 7

    monkeypatch.setattr(peers.time, "perf_counter", lambda: now)
    assert peers.rounds_for(1.0, a_round) == 21
    assert peers.rounds_for(0.0, a_round) == 7


@pytest.mark.parametrize("method", ["maml++", "p-meta"])
def test_both_ways_to_the_image_meta_gradient_agree(method):
    place = images.workplace(method, side=16)
    # Attention starts with equal scores: which of them are cut must not hang on the last bit.
    parameters = {name: tensor.double() for name, tensor in place.parameters.items()}
    generator = torch.Generator().manual_seed(1)
    parameters |= {
        name: torch.randn(tensor.shape, generator=generator).double()
        for name, tensor in parameters.items()
        if name.startswith("attention.")
    }
    tasks = [ImageTask(*(batch._replace(images=batch.images.double()) for batch in task)) for task in place.tasks]
    place = replace(place, parameters=parameters, tasks=tasks)
    with ThreadPoolExecutor(1) as executor:
        gradients = meta_gradient(place.network, parameters, place.method, tasks, False, executor).gradients
    torch.testing.assert_close(images.vectorized_gradient(place), gradients)


def test_images_takes_turns_and_says_the_ratio(capsys):
    result = images.measure((16,), threads=1, repetitions=1)
    assert list(result["cases"]) == ["maml 16", "p-meta 16"]
    images.show(result)
    assert "vectorized / task by task" in capsys.readouterr().out
