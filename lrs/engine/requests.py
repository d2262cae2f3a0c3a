"""What decoding is asked for, and what it gives back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """A prompt to continue; `temperature` 0 is greedy. What is sampled depends on problem, seed and position alone."""

    prompt: list[int]
    problem_id: str = ""
    seed: int = 0
    temperature: float = 0.0


@dataclass(frozen=True)
class SteeringRecord:
    """What steering did to one generation; means are over steered tokens, NaN where there were none."""

    steered_tokens: int
    reward_before: float
    reward_after: float
    push_ratio: float  # ||dh|| / ||h||
    left_tokens: int = 0  # whose reward or push was not finite: not steered


@dataclass(frozen=True)
class Generation:
    """What a model wrote. `confidence[t]` is the mode's untempered probability when token t was chosen."""

    token_ids: list[int]
    confidence: list[float]
    finish_reason: str  # answered, truncated
    steering: SteeringRecord | None
