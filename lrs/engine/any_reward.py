"""Rewards of any make in use: what `RewardSteps` does for ours, by the reward's own functions."""

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lrs.engine.history import History
from lrs.engine.policy import Policy
from lrs.engine.reward_steps import Newest, RewardSteps, Scored
from lrs.method.reward import LatentRewardModel, Reward


class ScoredAny(NamedTuple):
    """The rewards of some newest tokens, and the latents that they are of."""

    logit: Tensor  # (rows,)
    latent: Tensor  # (rows, d_sae)
    newest: None = None

    def select(self, rows: Int[Tensor, " some"], _: History) -> "ScoredAny":
        """What belongs to some of the rows."""
        return ScoredAny(self.logit.index_select(0, rows), self.latent.index_select(0, rows))


Score = TypeVar("Score", bound=Scored | ScoredAny)


@runtime_checkable
class Steps(Protocol[Score]):
    """What scores the newest token of every row, and reads no scores but its own.

    Attributes:
        recordable: whether nothing here waits for the device.
        dtype: of latents and logits.
        history: of the tokens scored before.
    """

    recordable: bool
    dtype: torch.dtype
    history: History

    def newest(self) -> Newest | None:
        """Where the newest tokens stand; None if no reward depends on it."""

    def score(self, latent: Float[Tensor, "rows d_sae"], newest: Newest | None) -> Score:
        """Reward logits of the newest latents."""

    def direction(self, scored: Score) -> Float[Tensor, "rows d_sae"]:
        """Where a step of length 1 leads."""

    def select(self, rows: Int[Tensor, " some"]) -> "Steps[Score]":
        """The same for some rows."""


class AnyRewardSteps:
    """Scores the newest token of `rows` rows, each on its own."""

    recordable = False  # a reward may ask anything of the device

    def __init__(self, model: Reward, rows: int, capacity: int, policy: Policy | None = None):
        self.model, self.dtype = model, model.dtype
        self.history = History(rows, capacity, model.device, policy or Policy())

    def newest(self) -> None:
        """Nothing: no token's reward depends on where it stands."""

    @torch.no_grad()
    def score(self, latent: Float[Tensor, "rows d_sae"], _: Newest | None) -> ScoredAny:
        """Reward logits of the newest latents."""
        return ScoredAny(self.model(latent[:, None])[:, 0], latent)

    @torch.no_grad()
    def direction(self, scored: ScoredAny) -> Float[Tensor, "rows d_sae"]:
        """Where a step of length 1 leads."""
        return self.model.direction(scored.latent).detach()

    def select(self, rows: Int[Tensor, " some"]) -> "AnyRewardSteps":
        """The same for some rows."""
        return AnyRewardSteps(self.model, len(rows), self.history.capacity, self.history.policy)


def steps_for(model: Reward, rows: int, capacity: int, policy: Policy) -> Steps[Any]:
    """What scores the newest token of `rows` rows: with its gradient written out, where the reward is of our making."""
    if isinstance(model, LatentRewardModel) and model.config.variant in ("token", "history", "linear"):
        return RewardSteps(model, rows, capacity, policy)
    return AnyRewardSteps(model, rows, capacity, policy)
