"""What a request must be before it is queued. Pure."""

from itertools import pairwise

from config.errors import BadRequestError
from server.engine.messages import GenerateRequest


def refuse_invalid(request: GenerateRequest, vocabulary_size: int, max_request_tokens: int) -> None:
    """Raises BadRequestError; code context_length_exceeded where the prompt alone leaves no room for an answer."""
    num_prompt = len(request.tokens)
    if not num_prompt:
        raise BadRequestError("The prompt is empty.", "messages")
    if num_prompt >= max_request_tokens:
        raise BadRequestError(
            f"The prompt has {num_prompt} tokens; prompt and answer together may have {max_request_tokens}.",
            "messages",
            "context_length_exceeded",
            "Shorten the messages.",
        )
    if request.max_tokens < 1:
        raise BadRequestError(f"max_tokens = {request.max_tokens} leaves no room for an answer.", "max_tokens")
    _refuse_tokens("messages", request.tokens, vocabulary_size)
    _refuse_tokens("logit_bias", [token for token, _ in request.sampling.logit_bias], vocabulary_size)
    if request.adapter is not None and not 0 <= request.voice_boundary <= num_prompt:
        raise BadRequestError(f"voice_boundary = {request.voice_boundary} is not within {num_prompt} tokens.")
    if any(not stop for stop in request.stop):
        raise BadRequestError("A stop string is empty.", "stop")


def clip_answer(request: GenerateRequest, max_request_tokens: int) -> int:
    """How long the answer may become."""
    return min(request.max_tokens, max_request_tokens - len(request.tokens))


def refuse_bounds(request: GenerateRequest) -> None:
    """Where prompts are read in blocks: none is empty, and they stand behind a prefix and before the end.

    Raises BadRequestError.
    """
    bounds, last = request.fact_bounds, len(request.tokens) - 1
    is_rising = all(begin < end for begin, end in pairwise((0, *bounds)))
    if bounds and not (len(bounds) > 1 and is_rising and bounds[-1] <= last):
        raise BadRequestError(f"fact_bounds = {bounds} do not lie one behind the other within 1..{last}.")
    if request.fact_documents and len(request.fact_documents) != len(bounds) - 1:
        raise BadRequestError(f"{len(request.fact_documents)} fact_documents for {len(bounds) - 1} sources.")


def _refuse_tokens(param: str, tokens: tuple[int, ...] | list[int], vocabulary_size: int) -> None:
    for token in tokens:
        if not 0 <= token < vocabulary_size:
            raise BadRequestError(f"Token {token} is not in the vocabulary of {vocabulary_size}.", param)
