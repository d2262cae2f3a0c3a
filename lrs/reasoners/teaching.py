"""Teaching a language model to reason as the tutor does: low-rank adapters, trained on its traces."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.models.backbones import load_backbone
from lrs.reasoners.learning_from_texts import learn_from_texts
from lrs.reasoners.pretraining import batches_from, packers_for, training_step
from lrs.reasoners.recipes import TeachingRecipe, recipe_of, training_problems


def teach(folder: Path, scratch: Path, device: str = "cpu") -> None:
    """Adapt the parent of `folder/recipe.yaml`, in the folder beside it, and write adapters (bfloat16),
    `training.json` and `loss.csv`; a killed run resumes from the last checkpoint in `scratch`.

    Every linear map of every layer gets an adapter, whose scale is twice its rank.
    """
    from peft import LoraConfig, get_peft_model

    recipe = recipe_of(folder, TeachingRecipe)
    backbone = load_backbone(str(folder.parent / recipe.parent), device)
    scratch = scratch / fingerprint([recipe.fingerprint, backbone.identity, code_of(__name__)])
    backbone.model.name_or_path = recipe.parent  # what the adapters will call their parent
    torch.manual_seed(recipe.seed)
    adapters = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear")
    model = get_peft_model(backbone.model, adapters).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    problems = training_problems(recipe, scratch / "problems.jsonl")

    def losses_from(first: int) -> Iterator[Tensor]:
        for batch in batches_from(first, problems, backbone.tokenizer, recipe, packers_for(model.device)):
            yield training_step(model, batch, model.device)

    learn_from_texts("reasoner: teaching", model, optimizer, losses_from, recipe, scratch, folder, None)
