"""How a device likes to be asked. No choice here changes what is written, but for how numbers are rounded."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from lrs.engine.graphs import Record, cuda_recorder

# Elsewhere a copied process may not use the system's libraries.
CAN_COPY = sys.platform == "linux"


@dataclass(frozen=True)
class Policy:
    """What suits a device.

    Attributes:
        width_multiple: columns; attention reads a multiple of it, so that there are few shapes.
        selects_rows: whether only rows that the gate lets through ascend; if not, all do, and nothing waits to know.
        recorder: makes what records a token's step; None: every step runs from Python.
        workers: processes of one thread that share the rows.
    """

    width_multiple: int = 1
    selects_rows: bool = False
    recorder: Callable[[torch.device], Record] | None = None
    workers: int = 1


def policy_for(model: PreTrainedModel, workers: int = 1) -> Policy:
    """The policy of the device that a model is on.

    On a CPU rows can be told apart at no cost. An accelerator likes no questions; on an NVIDIA GPU steps are recorded,
    each width of attention being a recording of its own.

    Args:
        workers: on a CPU; an accelerator needs no more than one.
    """
    kind = model.device.type
    if kind == "cpu":
        return Policy(selects_rows=True, workers=workers if CAN_COPY else 1)
    # a rope that looks at lengths cannot be recorded
    records = kind == "cuda" and "dynamic" not in str(getattr(model.config, "rope_parameters", ""))
    return Policy(width_multiple=128 if kind == "cuda" else 1, recorder=cuda_recorder if records else None)
