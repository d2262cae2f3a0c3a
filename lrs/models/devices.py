"""Devices, by name."""

import torch


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is an accelerator if there is one.

    Raises:
        ValueError: torch does not know the device or cannot use it.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None


def describe_device(device: torch.device) -> str:
    """`cpu`, or the accelerator's model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
