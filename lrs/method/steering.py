"""Everything that defines a steered model beside the model: where, with what, when and how far."""

from dataclasses import dataclass

from lrs.method.ascent import Ascent
from lrs.method.dictionary import Dictionary
from lrs.method.gate import Gate
from lrs.method.reward import Reward


@dataclass(frozen=True)
class Steering:
    """Everything that defines a steered model beside the model: where, with what, when and how far."""

    layer: int
    dictionary: Dictionary
    reward: Reward
    gate: Gate
    ascent: Ascent


def check_fit(steering: Steering, d_model: int) -> None:
    """Refuse a dictionary that was made for another width of activation or of reward model."""
    d_sae, d_in = steering.dictionary.W_dec.shape
    if d_in != d_model:
        raise ValueError(f"the dictionary reads activations of width {d_in}, but the backbone's are {d_model} wide")
    if d_sae != steering.reward.d_sae:
        raise ValueError(f"the dictionary has {d_sae} latents, but the reward model reads {steering.reward.d_sae}")
