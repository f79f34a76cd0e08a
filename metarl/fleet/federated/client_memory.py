"""How many bytes of tensors a client holds at its peak."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from metarl.fleet.federated.client import Clients
from metarl.fleet.federated.settings import FederationSettings, client_random
from metarl.fleet.federated.weights import ClientWeights


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside and not freed yet, and remembers their peak."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.peak: int = 0
        self.known: set[int] = set()
        for tensor in held:
            self._note(tensor)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and count the tensors that it returns."""
        made = function(*args, **(kwargs or {}))
        for each in tree_iter(made):
            if isinstance(each, Tensor):
                self._note(each)
        return made

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def peak_bytes(clients: Clients, weights: ClientWeights, settings: FederationSettings, client: int) -> int:
    """Return the most bytes of tensors that a client holds at a time while it computes its gradient.

    Its weights, its examples, activations and gradients count; the simulator does not.
    """
    clients.gradient(client, weights, client_random(settings, 0, client))  # so that nothing is made for the first time
    tracked = LiveTensors(weights.tensors())
    with tracked:
        clients.gradient(client, weights, client_random(settings, 0, client))
    return tracked.peak
