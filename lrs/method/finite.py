"""Weights that are no numbers: a reward of NaN lies below no threshold, and nothing would be steered, silently."""

from collections.abc import Mapping

from torch import Tensor


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Hold all weights to finite numbers.

    Raises:
        ValueError: naming the first one that has NaN or infinity in it.
    """
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise ValueError(f"{name} has a value that is not a finite number (did its training diverge?)")
