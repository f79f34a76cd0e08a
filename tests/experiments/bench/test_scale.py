"""The benchmark of workers, on tiny sizes with workers of this process."""

from functools import partial

import numpy as np
import pytest
from in_process_pool import InProcessCluster

from metarl.envs.registry import get_family
from metarl.experiments.bench import scale
from metarl.experiments.bench.scale import Load, SleepingSimulator, sleeping_family
from metarl.rl.dealt import ShareHolder

TINY = Load(tasks=4, episodes=2, horizon=3, step_seconds=0.0)


def test_rates_efficiency_and_traffic_go_by_workers(capsys: pytest.CaptureFixture[str]) -> None:
    holder = partial(ShareHolder, sleeping_family(TINY), TINY.settings())
    with InProcessCluster(4).pool(holder, 1, 4) as pool:
        result = scale.measure(pool, TINY, (1, 2, 4), repetitions=1)
    assert [row["workers"] for row in result["rows"]] == [1, 2, 4]
    first, *others = result["rows"]
    assert first["efficiency"] == 1
    for row in others:
        assert row["efficiency"] == pytest.approx(first["seconds"] / (row["workers"] * row["seconds"]))
        assert row["iterations_per_second"] == pytest.approx(1 / row["seconds"])
        assert row["rounds"] == first["rounds"] and row["bytes"] > first["bytes"]
    scale.show(result)
    assert "efficiency at 4 workers" in capsys.readouterr().out


def test_a_step_sleeps_for_every_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(scale.time, "sleep", slept.append)
    simulator = SleepingSimulator(0.25)
    assert simulator.reset(np.array([[0.5], [0.0]]), np.zeros((2, 3), np.int64)).shape == (2, 3, 17)
    transition = simulator.step(np.full((2, 3, 6), 0.5))
    assert slept == [0.25 * 6]
    assert transition.rewards.tolist() == [[0.0] * 3, [-0.5] * 3] and not transition.terminated.any()


def test_the_sleep_is_calibrated_to_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 18.0])
    monkeypatch.setattr(scale.time, "perf_counter", lambda: next(now))
    assert scale.seconds_of_a_step(get_family("navigation-2d"), episodes=4) == 8.0 / (4 * scale.CALIBRATION_STEPS)
