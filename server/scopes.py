"""Whose private content a prompt holds, part by part. Pure.

    [neutral system] [sources] [earlier turns] [brand words, question]
     public           *         the key's own ----------------------->

The sources are public where all of them are open to everybody, so that brands and readers share their KV. Else they
belong to the set of groups that they ask for: colleagues who may read the same documents share them, and nobody else
can tell from the time to the first token that they were ever read. Conversations are the key's own always, since
earlier answers may quote what only its holder may read.
"""

import hashlib
import json
from collections.abc import Sequence

from config.prompt import Conversation, Prompt
from server.candidates import RetrievedSource
from server.engine.messages import Scope


def own_scope(key_id: str) -> str:
    return f"key:{key_id}"


def sources_scope(sources: Sequence[RetrievedSource]) -> str:
    asked = sorted({groups for source in sources for groups in source.requirement})
    return f"groups:{hashlib.sha256(json.dumps(asked).encode()).hexdigest()}" if asked else ""


def scopes_of(
    prompt: Prompt, conversation: Conversation, sources: Sequence[RetrievedSource], key_id: str
) -> tuple[Scope, ...]:
    """A system message of the client's own is private from its first token on."""
    own = own_scope(key_id)
    if conversation.system:
        return (Scope(0, own),)
    restricted = sources_scope(sources)
    parts = [Scope(prompt.sources_start, restricted)] if restricted else []
    return (*parts, Scope(prompt.sources_end, own))


def question_scopes(prompt: Prompt, key_id: str) -> tuple[Scope, ...]:
    """Of a prompt in which all but the last turn is ours, word for word, and shared by everybody."""
    return (Scope(prompt.voice_boundary, own_scope(key_id)),)
