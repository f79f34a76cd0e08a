"""What is to be learned: task distributions, their Gymnasium environments and their batched simulators."""

import gymnasium

for _id, _family in (
    ("metarl/Navigation2D-v0", "navigation-2d"),
    ("metarl/HalfCheetahVelocity-v0", "half-cheetah-velocity"),
    ("metarl/HalfCheetahDirection-v0", "half-cheetah-direction"),
):
    gymnasium.register(
        _id, entry_point="metarl.envs.registry:make_env", kwargs={"family": _family}, max_episode_steps=200
    )
