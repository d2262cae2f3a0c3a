"""Checkpoints, from which a killed training resumes."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lrs.core.store import write_text


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, log: dict[str, Any]
) -> None:
    """Weights and optimizer state as safetensors; `state.json`, written last, says which step is complete.

    Args:
        log: JSON-able, given back by `load_checkpoint`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    states = optimizer.state_dict()["state"]
    flat = {f"{index}.{key}": value for index, state in states.items() for key, value in state.items()}
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    save_file(weights, folder / f"model-{step}.safetensors")
    save_file(flat, folder / f"optimizer-{step}.safetensors")
    write_text(folder / "state.json", json.dumps({"step": step} | log))
    for stale in folder.glob("*.safetensors"):
        if not stale.stem.endswith(f"-{step}"):
            stale.unlink()


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]]:
    """Bring model and optimizer to the last complete step: how many steps that is, and the log; (0, {}) if none is."""
    if not (folder / "state.json").exists():
        return 0, {}
    log = json.loads((folder / "state.json").read_text("utf-8"))
    step = log.pop("step")
    model.load_state_dict(load_file(folder / f"model-{step}.safetensors"), strict=False)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in load_file(folder / f"optimizer-{step}.safetensors").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step, log
