"""Parameters that chat and text completions share, with OpenAI's ranges."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from server.sampling_choice import SamplingChoice

MAX_TOP_LOGPROBS = 20
MAX_STOPS = 4
MAX_STOP_CHARACTERS = 1_000
MAX_BIASED_TOKENS = 1_024
MAX_SEED = 2**63 - 1

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
PositiveCount = Annotated[int, Field(ge=1, le=2**31)]


class Body(BaseModel):
    """An unknown parameter is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(Body):
    """How to sample and when to stop. top_k, min_p, repetition_penalty and dry_multiplier are ours, as in llama.cpp."""

    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] | None = None
    dry_multiplier: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[int, Bias], Field(max_length=MAX_BIASED_TOKENS)] | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    n: PositiveCount | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=1_000)] | None = None

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise wrong("stream_options", "stream_options is only allowed when stream is true.")
        if self.stream_options is not None and self.stream_options.include_obfuscation:
            raise wrong("stream_options.include_obfuscation", "Obfuscation of stream sizes is not offered.")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def sampling(self) -> SamplingChoice:
        return SamplingChoice(
            temperature=self.temperature,
            top_p=_positive(self.top_p),
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            dry_multiplier=self.dry_multiplier,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=tuple(sorted((self.logit_bias or {}).items())),
            seed=None if self.seed is None else self.seed % MAX_SEED,
        )


def wrong(param: str, message: str, code: str = "invalid_value") -> PydanticCustomError:
    """An error about a parameter other than the one that is validated: `failures` reads the name from the context."""
    return PydanticCustomError("housevoice", "{message}", {"message": message, "param": param, "code": code})


def _positive(share: float | None) -> float | None:
    """top_p = 0 means the best token alone."""
    return share if share is None else max(share, 1e-9)
