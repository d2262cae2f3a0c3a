"""What decoding is asked for, and what it gives back."""

from dataclasses import dataclass

from lrs.engine.steerer import SteeringRecord


@dataclass(frozen=True)
class Request:
    """A prompt to continue; `temperature` 0 is greedy. What is sampled depends on problem, seed and position alone."""

    prompt: list[int]
    problem_id: str = ""
    seed: int = 0
    temperature: float = 0.0


@dataclass(frozen=True)
class Generation:
    """What a model wrote. `confidence[t]` is the mode's untempered probability when token t was chosen."""

    token_ids: list[int]
    confidence: list[float]
    finish_reason: str  # answered, truncated
    steering: SteeringRecord | None
