"""The prompt that housevoice will render for a question, made beforehand so that the peers get the same one."""

from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import TypeAdapter

from benchmarks.bench.systems import KNOWLEDGE_BASE, Ask, Housevoice, brand_prompt
from config.prompt import Conversation, Prompt, Source, Turn, TurnFormat, render, with_brand_block
from server.candidates import RetrievedSource
from server.engine.vocabulary import Vocabulary
from server.numbering import with_lasting_numbers

SOURCES = TypeAdapter(tuple[RetrievedSource, ...])


@dataclass(frozen=True, slots=True)
class Prompter:
    """layout: how the server reads sources, and so how it numbers them. Asking it for what it would retrieve reads
    nothing into its engine.
    """

    server: Housevoice
    vocabulary: Vocabulary
    turn_format: TurnFormat
    layout: str
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False), repr=False)

    def ask(
        self, question: str, documents: tuple[str, ...], brand: int | None, max_tokens: int, *, runs_on: bool = False
    ) -> Ask:
        sources = self.sources(question, documents) if documents else ()
        tokens = self.render(question, sources, brand).tokens
        numbers = tuple(source.number for source in sources)
        return Ask(question, tokens, documents, brand, max_tokens, runs_on, numbers)

    def render(self, question: str, sources: tuple[Source, ...], brand: int | None) -> Prompt:
        instructions = "" if brand is None else brand_prompt(brand)
        conversation = Conversation((Turn("user", question),), sources, instructions)
        shown = with_brand_block(conversation) if self.layout == "blocks" else conversation
        return render(shown, self.turn_format, self.vocabulary.encode)

    def sources(self, question: str, documents: tuple[str, ...]) -> tuple[Source, ...]:
        """One for each document, as retrieved. Raises SystemExit where the index holds others."""
        given: dict[str, Any] = {"q": question, "knowledge_base": KNOWLEDGE_BASE, "path": list(documents)}
        response = self._client.get(f"{self.server.url}/api/search", params=given, headers=self.server.headers)
        response.raise_for_status()
        found = SOURCES.validate_python(response.json()["sources"])
        if len(found) != len(documents):
            raise SystemExit(f"{len(found)} of {len(documents)} documents were found for {question!r}.")
        numbered = with_lasting_numbers(found) if self.layout == "blocks" else found
        return tuple(Source(item.number, item.document.title, item.heading, item.text) for item in numbered)
