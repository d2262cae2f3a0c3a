"""What an arm is, and one configuration of a steered one."""

from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict

# of reward model: it sees one token, or the trace so far; or it is linear, and its gradient the same everywhere
Variant = Literal["token", "history", "linear"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
Objective = Literal["bce", "advantage", "pairwise"]  # what it is trained to tell: lrs/learning/objectives.py
OBJECTIVES: dict[str, Objective] = {  # of the rewards that are trained to predict
    **dict.fromkeys(("token", "history"), "bce"),
    **dict.fromkeys(("advantage", "advantage_history"), "advantage"),
    **dict.fromkeys(("pairwise", "pairwise_history"), "pairwise"),
}
BEGINS_AS: dict[str, Variant] = {"causal": "token", "constant": "linear"}  # what is trained through its own push
REWARDS: dict[str, Variant] = {
    **{name: "history" if name.endswith("history") else "token" for name in OBJECTIVES},
    **dict.fromkeys(("linear", "random"), "linear"),  # need no training: a difference of means, a direction by lot
    **BEGINS_AS,
}


class Arm(NamedTuple):
    """A method; `reward`, of `REWARDS`, is None where nothing is steered. One that descends pushes the other way; one
    that `matches` another is not tuned: it takes the steps in the latents that the other was chosen to take."""

    name: str
    group: Literal["baseline", "placebo", "prompting", "method", "control"]
    reward: str | None = None
    gated: bool = False
    descends: bool = False
    matches: str | None = None
    prompt: Literal["plain", "instructed", "examples"] = "plain"


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
