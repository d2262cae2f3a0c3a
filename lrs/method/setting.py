"""What an arm is, and one configuration of a steered one."""

from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict

Variant = Literal[
    "token", "history", "linear", "published", "potential", "free", "along", "gated", "shift", "fresh"
]  # of reward model: lrs/method/reward.py
Basis = Literal["sae", "random_sae", "pca", "raw", "projections", "outside"]  # what it reads: lrs/learning/bases.py
Signal = Literal["confidence", "certainty", "stability", "lot"]  # that a gate reads: lrs/method/gate.py
Objective = Literal["bce", "advantage", "pairwise", "shuffled", "unmasked"]  # lrs/learning/objectives.py


class RewardKind(NamedTuple):
    """A reward that an arm may climb.

    Attributes:
        learns: an objective; or it is not trained to predict: `means` (right traces minus wrong ones), `lot` (drawn),
            `push` (trained by policy gradient through its own push), `dealt` (the same, where right and wrong are dealt
            out by lot to a problem's attempts), `mean`, `rest` and `level` (of another's push).
        begins_as: the reward whose weights it begins with, if it begins with any.
        draw: of what is drawn by lot: weights, or labels.
    """

    variant: Variant
    learns: Objective | Literal["means", "lot", "push", "dealt", "mean", "rest", "level"]
    basis: Basis = "sae"
    begins_as: str | None = None
    draw: int = 0

    @property
    def pushes(self) -> bool:
        """Whether it is trained through its own push."""
        return self.learns in ("push", "dealt")


OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


class Arm(NamedTuple):
    """A method; `reward`, of `lrs.method.arms.REWARDS`, is None where nothing is steered. A gated one steers where
    reward or confidence is low, or (`gated` by `reward` or a `Signal`) where that alone is, at as many tokens as by the
    paper's two clauses or at a share that it `fires` at; `thresholds` (reward, confidence), if it has any, are not
    tuned. One that is `paced` by another reward has that one's scores and goes as
    far at each token: only its directions are its own reward's. One that descends pushes the other way; one that
    `matches` another is not tuned: it takes the steps in the latents, and the thresholds, that the other was chosen to
    take."""

    name: str
    group: Literal["baseline", "placebo", "prompting", "method", "control"]
    reward: str | None = None
    gated: bool | Literal["reward"] | Signal = False
    thresholds: tuple[float, float] | None = None
    fires: float | None = None
    descends: bool = False
    matches: str | None = None
    paced: str | None = None
    prompt: Literal["plain", "instructed", "examples"] = "plain"

    @property
    def climbs(self) -> str:
        """The reward of a steered arm.

        Raises:
            ValueError: the arm steers nothing.
        """
        if self.reward is None:
            raise ValueError(f"arm {self.name!r} steers nothing and climbs no reward")
        return self.reward

    @property
    def reads(self) -> list[str]:
        """Every reward that it steers by."""
        return [name for name in (self.reward, self.paced) if name]


class Setting(BaseModel):
    """One configuration of a steered arm; the quantiles tell where the thresholds come from."""

    model_config = ConfigDict(frozen=True)

    arm: str
    num_steps: int
    step_size: float
    reward_quantile: float | None = None
    confidence_quantile: float | None = None
    reward_threshold: float | None = None
    confidence_threshold: float | None = None

    @property
    def name(self) -> str:
        """A folder name that tells the setting."""
        quantiles = "" if self.reward_quantile is None else f"-r{self.reward_quantile:g}-c{self.confidence_quantile:g}"
        return f"{self.arm}-k{self.num_steps}-a{self.step_size:g}{quantiles}"


def check_setting(arm: Arm, setting: Setting | None) -> None:
    """Hold a steered arm to a setting of its own, and any other to none.

    Raises:
        ValueError: the arm and its setting do not match.
    """
    if not arm.reward and setting:
        raise ValueError(f"arm {arm.name!r} steers nothing and takes no setting (got one of {setting.arm!r})")
    if arm.reward and (setting is None or setting.arm != arm.name):
        got = f"one of {setting.arm!r}" if setting else "none"
        raise ValueError(f"arm {arm.name!r} needs a setting of its own (got {got})")
