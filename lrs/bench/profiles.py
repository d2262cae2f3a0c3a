"""A profile as what is measured on it sees it."""

from collections.abc import Sequence

from lrs.config import Config, load_config


def seen_by_each(profile: str, backbone: str = "") -> list[Config]:
    """A profile as each of its backbones sees it, or one alone, if it is named."""
    return [load_config(profile, name) for name in ([backbone] if backbone else load_config(profile).backbones)]


def on_device(config: Config, device: str = "", batch: int = 0) -> Config:
    """The same, on another device, or with another number of rows side by side: neither changes what is asked."""
    decoding = config.decoding
    if batch:
        sizes = {"batch_size": batch, "problems_per_part": max(decoding.problems_per_part, 4 * batch)}
        decoding = decoding.model_copy(update=sizes)
    return config.model_copy(update={"device": device or config.device, "decoding": decoding})


def check_arms(named: Sequence[str], config: Config) -> None:
    """Hold named arms to those of a profile.

    Raises:
        ValueError: it has no such arm.
    """
    legal = config.steering.arms
    if unknown := [arm for arm in named if arm not in legal]:
        raise ValueError(f"profile {config.profile} has no arm {unknown[0]!r}; legal: {', '.join(legal)}")
