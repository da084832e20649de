"""POST /v1/embeddings."""

from typing import Annotated, Literal

from pydantic import Field

from server.api.schemas.common import Body, PositiveCount

MAX_INPUTS = 2_048
TokenId = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[list[TokenId], Field(min_length=1)]


class EmbeddingBody(Body):
    """openai-python asks for base64 unless told otherwise; OpenAI's own default is float."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: Text | Annotated[list[Text] | list[TokenId] | list[Tokens], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: PositiveCount | None = None
    user: Annotated[str, Field(max_length=1_000)] | None = None

    @property
    def inputs(self) -> list[str | list[int]]:
        """One entry a text: the text itself, or its token ids."""
        if isinstance(self.input, str):
            return [self.input]
        texts_or_lists: list[str | list[int]] = [item for item in self.input if not isinstance(item, int)]
        if texts_or_lists:
            return texts_or_lists
        return [[item for item in self.input if isinstance(item, int)]]
