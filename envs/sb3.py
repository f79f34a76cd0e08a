"""metarl's batched environments as a VecEnv of Stable-Baselines3, whose interface is another than Gymnasium's."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from metarl.core.errors import Refusal
from metarl.envs.family import Array
from metarl.envs.vector_env import TaskVectorEnv


def sb3_vec_env(env: TaskVectorEnv) -> Any:
    """Return the environments as a VecEnv of Stable-Baselines3; Refusal if it is not installed."""
    try:
        from stable_baselines3.common.vec_env import VecEnv
    except ModuleNotFoundError as missing:
        raise Refusal("sb3_vec_env needs Stable-Baselines3: pip install stable-baselines3") from missing

    class Batched(VecEnv):
        """Steps all episodes in the batched simulator."""

        def __init__(self) -> None:
            super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

        def reset(self) -> Array:
            """Start all episodes, with the seeds of ``seed`` if it was called."""
            seeds = list(self._seeds)
            self._reset_seeds()
            return env.reset(seed=seeds)[0]

        def step_async(self, actions: Array) -> None:
            """Keep the actions for ``step_wait``."""
            self.actions = actions

        def step_wait(self) -> Any:
            """Step all episodes; an episode that has ended begins anew."""
            observations, rewards, terminated, truncated, info = env.step(self.actions)
            infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(env.num_envs)]
            for index in np.flatnonzero(terminated | truncated):
                infos[index]["terminal_observation"] = info["final_obs"][index]
                infos[index]["TimeLimit.truncated"] = bool(truncated[index] and not terminated[index])
            return observations, rewards, terminated | truncated, infos

        def close(self) -> None:
            """Free the simulators."""
            env.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            """Return an attribute of the vectorized environment, once for each."""
            return [getattr(env, attr_name)] * len(list(self._get_indices(indices)))

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            """Raise Refusal: the environments are one object."""
            raise Refusal("an attribute of one of metarl's batched environments cannot be set: all are one object")

        def env_method(self, method_name: str, *arguments: Any, indices: Any = None, **options: Any) -> list[Any]:
            """Raise Refusal: the environments are one object."""
            raise Refusal("a method of one of metarl's batched environments cannot be called: all are one object")

        def env_is_wrapped(
            self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
        ) -> list[bool]:
            """Return that none is wrapped."""
            return [False] * len(list(self._get_indices(indices)))

    return Batched()
