"""POST /v1/completions: raw prompts, without documents and without a chat format."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from server.api.schemas.common import PositiveCount, SamplingBody, wrong

MAX_PROMPTS = 32
MAX_OLD_LOGPROBS = 5
TokenId = Annotated[int, Field(ge=0)]


class CompletionBody(SamplingBody):
    model: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: str | list[str] | list[TokenId] | list[list[TokenId]]
    max_tokens: PositiveCount | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_OLD_LOGPROBS)] | None = None
    echo: bool | None = None
    best_of: PositiveCount | None = None
    suffix: Any = None

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.suffix is not None:
            raise wrong("suffix", "Insertion before a suffix is not offered.", "unsupported_parameter")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise wrong("best_of", "best_of other than n is not offered.")
        if self.echo and self.logprobs is not None:
            raise wrong("echo", "echo together with logprobs is not offered.")
        if not 1 <= len(self.prompts) <= MAX_PROMPTS:
            raise wrong("prompt", f"Send 1 to {MAX_PROMPTS} prompts in one request.")
        if not all(self.prompts):
            raise wrong("prompt", "A prompt is empty.")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One entry a prompt: text, or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        texts_or_lists: list[str | list[int]] = [item for item in self.prompt if not isinstance(item, int)]
        if texts_or_lists:
            return texts_or_lists
        return [[item for item in self.prompt if isinstance(item, int)]]
