"""How an answer's tokens are chosen: the client's wish over the brand's defaults, and the lean towards its refusal."""

from dataclasses import dataclass, replace

from config.brands import Brand, SamplingDefaults
from config.prompt import Encode
from server.engine.messages import Sampling


@dataclass(frozen=True, slots=True)
class SamplingChoice:
    """What the client asked for; None takes the brand's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    dry_multiplier: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None


def sampling_with_defaults(asked: SamplingChoice, default: SamplingDefaults, choice: int) -> Sampling:
    """The client's wish, else the brand's default. Each choice gets a seed of its own, derived from the client's."""
    return Sampling(
        temperature=default.temperature if asked.temperature is None else asked.temperature,
        top_p=default.top_p if asked.top_p is None else asked.top_p,
        top_k=default.top_k if asked.top_k is None else asked.top_k,
        min_p=default.min_p if asked.min_p is None else asked.min_p,
        repetition_penalty=asked.repetition_penalty or default.repetition_penalty,
        dry_multiplier=default.dry_multiplier if asked.dry_multiplier is None else asked.dry_multiplier,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        logit_bias=asked.logit_bias,
        seed=None if asked.seed is None else asked.seed + choice,
    )


def with_leaning(sampling: Sampling, brand: Brand, encode: Encode) -> Sampling:
    """Towards the refusal, or away from it, where an adapter has learned one. With its first line said it is decided,
    and the brand's words follow as they stand in its file: half a refusal with half an answer is neither.
    """
    refusal = brand.refusal.strip()
    return replace(
        sampling,
        leaning=tuple(encode(refusal, False)),
        leaning_bias=brand.refusal_bias,
        leaning_settled=len(encode(refusal.partition("\n")[0], False)),
    )
