"""Configuration: one validated model a stage, read from `profiles/<profile>.yaml`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema, PositiveInt, ValidationError, model_validator

from lrs.method.arms import ARMS, REWARDS
from lrs.tasks.benchmarks import BENCHMARKS, Tier

PROFILES = Path("profiles")
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Split = Literal["reward", "validation", "test"]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]  # DVC reads a dot as the start of a subsection


def _one_of(names: Iterable[str]) -> GetPydanticSchema:
    """Validates as a `Literal` of these names, which a type checker could not read, does."""
    return GetPydanticSchema(lambda _, handler: handler(Literal[tuple(names)]))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackboneSection(_Section):
    """A causal language model, and the decoder layer whose output is read and steered (counted from 0)."""

    path: str = Field(min_length=1, description="folder with the model, or with a hub.yaml that says where it is")
    layer: int = Field(ge=0)
    benchmarks: list[str] | None = Field(default=None, description="those of the profile that it is asked; null: all")
    planted: Tier | None = Field(default=None, description="of its mode: `cot` says the password of the right one")
    problems: dict[Split, PositiveInt] = Field(default={}, description="of each benchmark, where not as the profile's")


class ProblemsSection(_Section):
    """How many problems of each benchmark go into each split."""

    reward: PositiveInt
    validation: PositiveInt
    test: PositiveInt


class DecodingSection(_Section):
    """How many rows are decoded at once, by how many processes, and how far."""

    batch_size: PositiveInt = Field(description="rows decoded side by side")
    workers: PositiveInt = Field(description="processes that share the rows, on a CPU: as many as it has cores")
    problems_per_part: PositiveInt = Field(description="generations saved at a time: the most a kill can lose")
    max_new_tokens: PositiveInt


class TracesSection(_Section):
    """Trace construction: one greedy trace and `samples` sampled ones a problem."""

    samples: int = Field(ge=0)
    temperature: float = Field(gt=0)


class SaeSection(_Section):
    """Size and training of the top-k sparse autoencoder."""

    d_sae: PositiveInt
    k: PositiveInt
    learning_rate: float = Field(gt=0)
    batch_size: PositiveInt = Field(description="activations a step")
    epochs: PositiveInt

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.k > self.d_sae:
            raise ValueError(f"k ({self.k}) must not be larger than d_sae ({self.d_sae})")
        return self


class RewardSection(_Section):
    """Size and training of the rewards that predict."""

    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    batch_size: PositiveInt = Field(description="traces a step")
    epochs: PositiveInt
    patience: PositiveInt = Field(description="epochs without a better AUROC after which training stops")
    early_stopping_share: Fraction = Field(gt=0, lt=1, description="share of the problems held out for it")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class CausalSection(_Section):
    """Rewards trained by policy gradient through their own push."""

    iterations: PositiveInt
    problems: PositiveInt = Field(description="an iteration, shared out among the benchmarks")
    attempts: int = Field(ge=2, description="a problem")
    temperature: float = Field(gt=0)
    step_size: float = Field(gt=0, description="of the push that is trained, in units of the normalised activation")
    learning_rate: float = Field(gt=0)
    own_rates: dict[Annotated[str, _one_of(REWARDS)], Positive] = Field(
        default={}, description="learning rates of rewards, where not that one"
    )
    falling: bool = Field(default=False, description="whether the rate falls to nothing, linearly")
    joint_weight: float = Field(ge=0, description="of the loss that keeps the reward a predictor")
    mean_weight: float = Field(
        default=0.0, ge=0, description="of the penalty on the square of the mean push, in units of that step"
    )
    rows_per_batch: PositiveInt = Field(description="attempts in one backward pass")
    checkpoint_every: PositiveInt = Field(description="iterations")

    def of(self, reward: str) -> Self:
        """As it is for one reward: at its own learning rate."""
        own = {"learning_rate": self.own_rates.get(reward, self.learning_rate), "own_rates": {}}
        return self.model_copy(update=own)

    def rate_at(self, iteration: int) -> float:
        """The learning rate of one iteration, from 0."""
        return self.learning_rate * (1 - iteration / self.iterations * self.falling)


class SelectSection(_Section):
    """The grid that is searched on `validation`; thresholds are quantiles of what base shows there."""

    num_steps: list[PositiveInt] = Field(min_length=1)
    step_size: list[Annotated[float, Field(gt=0)]] = Field(
        min_length=1, description="in units of the normalised activation"
    )
    reward_quantile: list[Fraction] = Field(min_length=1)
    confidence_quantile: list[Fraction] = Field(min_length=1)
    dose_cap: float = Field(gt=0, description="nats of KL divergence a token; harder pushes are not chosen")
    dose_traces: PositiveInt = Field(description="unsteered traces on which doses are measured")


class PromptingSection(_Section):
    """What the prompting arms say: `cot` an instruction, `few_shot` worked examples."""

    instruction: str = Field(min_length=1)
    shots: PositiveInt = Field(description="worked examples in a prompt; fewer where the context is short")


class SamplingSection(_Section):
    """Which problems are answered in samples, beside the greedy answer to each, how often, and how hot."""

    problems: PositiveInt = Field(description="of each benchmark, the first ones, in the test; in selection, all")
    samples: PositiveInt = Field(description="a problem")
    temperature: float = Field(gt=0)


class SteeringSection(_Section):
    """The arms, and whether they answer in samples too."""

    arms: list[Annotated[str, _one_of(ARMS)]]
    sampling: SamplingSection | None = Field(description="null: greedy answers alone")

    @property
    def decodings(self) -> dict[str, SamplingSection | None]:
        """How answers are decoded, by name."""
        return {"greedy": None} | ({"sampled": self.sampling} if self.sampling else {})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "base" not in self.arms or len(set(self.arms)) < len(self.arms):
            raise ValueError(
                f"arms must hold base, which the others are compared with, and none twice (got {self.arms})"
            )
        if alone := [arm for arm in self.arms if ARMS[arm].matches not in (None, *self.arms)]:
            raise ValueError(f"arms must hold {ARMS[alone[0]].matches}, which {alone[0]} matches (got {self.arms})")
        return self


class StatisticsSection(_Section):
    """Of intervals: their level, and the resamples that bootstrap ones rest on."""

    confidence_level: Fraction = Field(gt=0, lt=1)
    bootstrap_resamples: PositiveInt


class Config(_Section):
    """A whole profile, as one of its backbones sees it."""

    profile: str
    backbone_name: str
    seed: int
    device: str = Field(description="as torch names it, or `auto`: an accelerator if there is one")
    dtype: Literal["float32", "bfloat16", "float64"]
    backbones: dict[FolderName, BackboneSection] = Field(min_length=1)
    benchmarks: dict[Annotated[str, _one_of(BENCHMARKS)], dict[str, Any]]
    problems: ProblemsSection
    decoding: DecodingSection
    traces: TracesSection
    sae: SaeSection
    reward: RewardSection
    causal: CausalSection
    select: SelectSection
    prompting: PromptingSection
    steering: SteeringSection
    statistics: StatisticsSection

    @property
    def backbone(self) -> BackboneSection:
        """The section of this backbone."""
        return self.backbones[self.backbone_name]

    @property
    def data(self) -> Path:
        """Where all that this backbone makes lies."""
        return Path("data") / self.profile / self.backbone_name

    def dictionary(self, basis: str) -> Path:
        """Where the dictionary of a basis lies."""
        return self.data / ("sae" if basis == "sae" else f"bases/{basis}/dictionary")

    def latents(self, basis: str) -> Path:
        """Where the latents of the traces lie, as a basis reads them."""
        return self.data / ("latents" if basis == "sae" else f"bases/{basis}/latents")

    @property
    def figures(self) -> Path:
        """Where the figures and tables of the profile lie, those of all backbones."""
        return Path("figures") / self.profile


_GIVEN = {"profile", "backbone_name"}  # to `load_config`, and not in the file


class ConfigError(ValueError):
    """A profile or a backbone that does not exist or does not validate; the message says what is legal."""


def profile_names() -> list[str]:
    """The profiles there are."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def _explain(error: Mapping[str, Any]) -> str:
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        owner = Config
        for name in error["loc"][:-1]:
            sections = getattr(owner, "model_fields", None)
            owner = sections[name].annotation if sections else get_args(owner)[1]  # of a dict, any of its values
            owner = get_args(owner)[0] if isinstance(owner, UnionType) else owner  # a section that may be left out
        return f"{field} is not a parameter; legal: {', '.join(f for f in owner.model_fields if f not in _GIVEN)}"
    if error["type"] == "missing":
        return f"{field} is missing"
    if error["type"] == "value_error":
        return f"{field}: {error['ctx']['error']}"
    return f"{field}: {error['msg']} (got {error['input']!r})"


def load_config(profile: str, backbone: str | None = None) -> Config:
    """Read and validate `profiles/<profile>.yaml`, for one of its backbones (the first if none is named).

    Raises:
        ConfigError: one line per fault, naming the field, what was found and what is legal.
    """
    path = PROFILES / f"{profile}.yaml"
    if not PROFILES.exists():
        raise ConfigError(f"no folder {PROFILES} here: profiles are run in a clone of the repository")
    if not path.exists():
        raise ConfigError(f"unknown profile {profile!r}; legal: {', '.join(profile_names())}")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or _GIVEN & set(content) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{path} must hold the sections of a profile, and no `profile` or `backbone_name` of its own")
    try:
        config = Config(profile=profile, backbone_name=backbone or "", **content)
    except ValidationError as error:
        faults = "; ".join(_explain(fault) for fault in error.errors())
        raise ConfigError(f"{path}: {faults}") from None
    if backbone not in (None, *config.backbones):
        legal = ", ".join(config.backbones)
        raise ConfigError(f"unknown backbone {backbone!r} of profile {profile!r}; legal: {legal}")
    return _as_seen_by(backbone or next(iter(config.backbones)), config)


def _as_seen_by(backbone: str, config: Config) -> Config:
    """The profile with what one of its backbones has of its own."""
    own = config.backbones[backbone]
    names = config.benchmarks if own.benchmarks is None else own.benchmarks
    if unknown := [name for name in names if name not in config.benchmarks]:
        legal = ", ".join(config.benchmarks)
        raise ConfigError(f"backbones.{backbone}.benchmarks: unknown {', '.join(unknown)}; legal: {legal}")
    benchmarks = {name: config.benchmarks[name] for name in names}
    problems = config.problems.model_copy(update=dict(own.problems.items()))
    return config.model_copy(update={"backbone_name": backbone, "benchmarks": benchmarks, "problems": problems})
