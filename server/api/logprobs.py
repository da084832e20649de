"""Log-probabilities in OpenAI's two shapes. Tokens are the model's own, before citations are renumbered."""

from collections.abc import Sequence
from typing import Any

from server.engine.messages import TokenChoice, TokenLogprob

Json = dict[str, Any]


def chat_logprobs(choices: Sequence[TokenChoice]) -> Json | None:
    """For chat completions; None where there is nothing to report."""
    if not choices:
        return None
    return {"content": [_chat_token(choice) for choice in choices], "refusal": None}


def completion_logprobs(choices: Sequence[TokenChoice], text_offset: int) -> Json:
    """For text completions: parallel lists. text_offset: characters before the first token."""
    offsets, texts = [], []
    for choice in choices:
        texts.append(_text(choice.chosen))
        offsets.append(text_offset)
        text_offset += len(texts[-1])
    return {
        "tokens": texts,
        "token_logprobs": [choice.chosen.logprob for choice in choices],
        "top_logprobs": [{_text(item): item.logprob for item in choice.alternatives} for choice in choices],
        "text_offset": offsets,
    }


def _chat_token(choice: TokenChoice) -> Json:
    return {**_token(choice.chosen), "top_logprobs": [_token(item) for item in choice.alternatives]}


def _token(item: TokenLogprob) -> Json:
    return {"token": _text(item), "logprob": item.logprob, "bytes": list(item.piece)}


def _text(item: TokenLogprob) -> str:
    return item.piece.decode("utf-8", "replace")
