"""Memory that training a network takes, read off the network itself."""

import torch
from torch import Tensor, nn

_COPIES = 5
"""of the parameters: themselves, gradients, two moments, and the best epoch"""
_PROBED = 2  # windows: BatchNorm needs more than one


def of_training(network: nn.Module, window: tuple[int, ...], batch_rows: int) -> dict[str, int]:
    """Estimate the bytes that training holds besides the table.

    Args:
        network: untrained.
        window: shape of one window.
        batch_rows: windows per step.

    Returns:
        bytes by what they hold; activations are what a forward pass keeps for its gradients
    """
    parameters = sum(value.numel() * value.element_size() for value in network.parameters())
    kept = _kept_bytes(network, torch.zeros(_PROBED, *window))
    return {
        "parameters and moments": _COPIES * parameters,
        "activations of a step": kept * batch_rows // _PROBED,
    }


def _kept_bytes(network: nn.Module, x: Tensor) -> int:
    """Sum the tensors that the forward pass keeps, each block of memory once, without what the network holds."""
    held = (*network.parameters(), *network.buffers())
    own = {value.untyped_storage().data_ptr() for value in held}
    kept: dict[int, int] = {}

    def note_size(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.random.fork_rng([]), torch.autograd.graph.saved_tensors_hooks(note_size, lambda value: value):
        scores = network.train()(x)
    del scores
    return sum(kept.values())
