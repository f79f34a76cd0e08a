"""A task family out of any Gymnasium environment: slower than a native simulator, with the same interface.

A pendulum whose tasks differ in gravity::

    import gymnasium
    from metarl.envs.family import TaskField
    from metarl.envs.from_gymnasium import task_family

    def set_gravity(environment, task):
        environment.unwrapped.g = task["gravity"]

    pendulum = task_family(
        "pendulum-gravity",
        make_env=lambda **kwargs: gymnasium.make("Pendulum-v1", **kwargs),
        fields=(TaskField("gravity", 5.0, 15.0, "m/s^2"),),
        set_task=set_gravity,
        horizon=100,
    )

Put it into a module of yours, say ``mine.py``, and ``metarl train mine:pendulum`` finds it.
"""

from metarl.envs.from_gymnasium.definition import task_family
from metarl.envs.from_gymnasium.vector import vector_task_family

__all__ = ["task_family", "vector_task_family"]
