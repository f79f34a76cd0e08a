"""What is to be learned: task distributions, their Gymnasium environments and their batched simulators."""

import gymnasium

# Every family of registry.FAMILIES, which is not imported here: half-cheetah-velocity is metarl/HalfCheetahVelocity-v0.
for _family in (
    "navigation-2d",
    "half-cheetah-velocity",
    "half-cheetah-direction",
    "half-cheetah-dynamics",
    "half-cheetah-disabled-joint",
    "ant-velocity",
    "ant-direction",
    "ant-goal",
    "ant-disabled-leg",
    "walker2d-velocity",
    "walker2d-dynamics",
    "hopper-velocity",
    "hopper-dynamics",
    "humanoid-direction",
    "swimmer-velocity",
    "pendulum-gravity",
    "cartpole-dynamics",
):
    gymnasium.register(
        f"metarl/{_family.title().replace('-', '')}-v0",
        entry_point="metarl.envs.registry:make_env",
        vector_entry_point="metarl.envs.registry:make_vector_env",
        kwargs={"family": _family},
        max_episode_steps=100 if _family == "navigation-2d" else 200,
    )
