from metarl.envs.family import TaskFamily
FAMILIES = ()
def get_family(name: str) -> TaskFamily:
    raise ValueError(f"unknown task family '{name}'")
