"""Whose private content a prompt holds, part by part. Pure.

    [neutral system] [source]* [brand words] [earlier turns] [brand words, question]
     public           *         public        the key's own ----------------------->

A source is public where it is open to everybody, so that brands and readers share its KV. Else it belongs to the
groups that it asks for: colleagues who may read the same documents share it, and nobody else can tell from the time to
the first token that it was ever read. What stands behind a restricted source depends on it, but is found again only
behind equal tokens of equal scopes, so by those who may read it. Conversations are the key's own always, since
earlier answers may quote what only its holder may read. Brand words that are a block beside the sources see none of
them, and are no secret to anybody who may ask the brand.
"""

import hashlib
import json
from collections.abc import Sequence

from config.prompt import Conversation, Prompt
from server.candidates import RetrievedSource
from server.engine.messages import Scope


def own_scope(key_id: str) -> str:
    return f"key:{key_id}"


def source_scope(source: RetrievedSource) -> str:
    asked = sorted(set(source.requirement))
    return f"groups:{hashlib.sha256(json.dumps(asked).encode()).hexdigest()}" if asked else ""


def scopes_of(
    prompt: Prompt, conversation: Conversation, sources: Sequence[RetrievedSource], key_id: str
) -> tuple[Scope, ...]:
    """A system message of the client's own is private from its first token on."""
    own = own_scope(key_id)
    if conversation.system:
        return (Scope(0, own),)
    starts = prompt.fact_bounds[: len(conversation.sources)]
    names = [(start, source_scope(source)) for start, source in zip(starts, sources, strict=False)]
    if conversation.sources and conversation.brand_words:
        names.append((prompt.fact_bounds[-2], ""))
    before = ["", *(name for _, name in names)]
    parts = [Scope(start, name) for (start, name), last in zip(names, before, strict=False) if name != last]
    return (*parts, Scope(prompt.sources_end, own))


def question_scopes(prompt: Prompt, key_id: str) -> tuple[Scope, ...]:
    """Of a prompt in which all but the last turn is ours, word for word, and shared by everybody."""
    return (Scope(prompt.voice_boundary, own_scope(key_id)),)
