"""Latent reward steering: a reproducible artifact, and one call that steers any decoder-only Hugging Face model."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Ascent": "lrs.method.ascent",
    "Gate": "lrs.method.gate",
    "fit": "lrs.experiment.own_model",
    "fit_slope": "lrs.experiment.own_slope",
    "from_sae_lens": "lrs.method.dictionary",
    "load_dictionary": "lrs.method.dictionary",
    "load_fitted": "lrs.experiment.own_model",
    "load_reward": "lrs.method.reward",
    "steer": "lrs.engine.steer",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import lrs` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lrs' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
