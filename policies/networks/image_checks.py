"""The sizes that image networks can have."""

from __future__ import annotations

from metarl.core.errors import Refusal
from metarl.policies.networks.kinds import GROUPS


def check_images(side: int, ways: int) -> None:
    """Raise ValueError unless images of that side can be halved four times and told apart."""
    if side < 16:
        raise Refusal(f"images are halved four times, so their side must be at least 16, got {side}")
    if ways < 1:
        raise Refusal(f"the number of classes (ways) must be at least 1, got {ways}")


def divides_into_groups(width: int) -> bool:
    """Return whether a group norm can divide that number of channels into its groups."""
    return width >= 1 and width % GROUPS == 0
