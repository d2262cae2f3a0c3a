"""What making a reasoner leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrs.core.store import write_text
from lrs.models.devices import describe_device

if TYPE_CHECKING:
    from peft import PeftModel


def save_reasoner(
    folder: Path, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase | None, seconds: float
) -> None:
    """Write weights (of adapters, where those were learned), the tokenizer, if it is given, and `training.json`: how
    long it took, and on what."""
    device = describe_device(model.device)
    alone: dict[str, Any] = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.eval().to("cpu").save_pretrained(str(folder), **alone)  # else a hub is asked about embeddings
    if tokenizer:
        tokenizer.save_pretrained(folder)
    about = {"device": device, "threads": torch.get_num_threads(), "minutes": round(seconds / 60, 1)}
    write_text(folder / "training.json", json.dumps(about))


def describe_training(folder: Path) -> str:
    """How long training took, and on what, as `save_reasoner` wrote it: `3.1 minutes (cpu, 1 thread)`."""
    about = json.loads((folder / "training.json").read_text("utf-8"))
    return f"{about['minutes']} minutes ({about['device']}, {about['threads']} thread{'s' * (about['threads'] > 1)})"
