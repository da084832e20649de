"""Fakes on the engine's seams, with outputs that can be computed in one's head. For tests of the loop and of the API.

- `fake_vocabulary()`: a token is a byte; 256 and 257 are ChatML's markers.
- `FakeBackend`: the next letter follows from every KV cell of the sequence, so a wrongly shared cell shows.
- `FakeEngine`: says what it is told to, in pieces.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import numpy as np

from config.errors import BadRequestError, EngineError
from config.fact_layout import Layout
from server.engine.backend import BackendShape, Logits, Span
from server.engine.messages import (
    AdapterRef,
    EngineStatus,
    Event,
    FailedEvent,
    FailureKind,
    FinishedEvent,
    FinishReason,
    GenerateRequest,
    TextEvent,
    TokenChoice,
    TokenLogprob,
)
from server.engine.text import TextStream
from server.engine.vocabulary import Vocabulary

END, START, NUM_TOKENS = 256, 257, 258
MARKERS = {"<|im_end|>": END, "<|im_start|>": START}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NUM_SPARE = 3
DEFAULT_SHAPE = BackendShape(
    num_cells=256,
    num_sequences=8,
    max_positions=256,
    max_batch_tokens=64,
    max_batch_spans=8,
    max_logits=16,
    can_share_prefixes=True,
)


class FakeVocabulary(Vocabulary):
    """A byte is a token."""

    def encode(self, text: str, is_template: bool = False, *, is_start: bool = False) -> list[int]:
        if is_template:
            for marker, token in MARKERS.items():
                before, found, after = text.partition(marker)
                if found:
                    return [*self.encode(before, is_template=True), token, *self.encode(after, is_template=True)]
        return list(text.encode("utf-8", "replace"))

    def piece(self, token: int) -> bytes:
        if not 0 <= token < self.size:
            raise IndexError(f"token {token} is not in 0..{self.size - 1}")
        return bytes([token]) if token < END else b""


def fake_vocabulary(context_length: int = 4_096) -> FakeVocabulary:
    return FakeVocabulary(
        path=Path("fake.gguf"),
        size=NUM_TOKENS,
        architecture="fake",
        context_length=context_length,
        chat_template=CHATML,
        bos_token=START,
        bos_text="<|im_start|>",
        eos_text="<|im_end|>",
        add_bos=False,
        end_tokens=frozenset({END}),
        _model=0,
        _vocabulary=0,
        _adds_space=False,
    )


class Cell:
    """One KV cell. Sequences that share it hold the same object.

    weight: of its position, counted from 1, and seven times of the cells that it saw beyond those before its position,
    which are none in a plain sequence and in a block that is read as it should be.
    """

    def __init__(self, token: int, voice: int, position: int, num_seen: int) -> None:
        self.token, self.voice, self.position, self.num_seen = token, voice, position, num_seen

    @property
    def weight(self) -> int:
        return self.position + 1 + 7 * (self.num_seen - self.position)


def next_token(cells: Sequence[Cell]) -> int:
    """Weighted sum of token + voice number; every 97th value ends the answer, the others give a letter."""
    value = sum(cell.weight * (cell.token + cell.voice) for cell in cells)
    return END if value % 97 == 0 else ord("a") + value % 26


def quoted_token(cells: Sequence[Cell]) -> int:
    """What followed the last time that the last token was there; as `next_token` where it was not, and for every fourth
    value of the sum."""
    value = sum(cell.weight * (cell.token + cell.voice) for cell in cells)
    places = [place for place, cell in enumerate(cells[:-1]) if cell.token == cells[-1].token]
    return cells[places[-1] + 1].token if places and value % 4 else next_token(cells)


def expected_answer(
    prompt: Sequence[int],
    voice: int,
    boundary: int,
    max_tokens: int,
    bounds: tuple[int, ...] = (),
    choose: Callable[[Sequence[Cell]], int] = next_token,
) -> bytes:
    """What FakeBackend must lead to: `voice` is on from `boundary`; 0 is the base. bounds: of the fact blocks."""
    cells, answer, layout = [], bytearray(), Layout(bounds)
    for index, token in enumerate(prompt):
        begin = max((bound for bound in bounds if bound <= index), default=0)
        in_block = layout.start <= index < layout.end
        position = layout.start + index - begin if in_block else layout.num_positions(index)
        cells.append(Cell(token, voice if index >= boundary else 0, position, position if in_block else index))
    while len(answer) < max_tokens and (token := choose(cells)) != END:
        answer.append(token)
        cells.append(Cell(token, voice, cells[-1].position + 1, len(cells)))
    return bytes(answer)


class FakeBackend:
    """Keeps to `backend.EngineBackend`, as strict as llama.cpp: cells are limited, positions must go on without a gap.

    An adapter's sha256 is its voice number in hexadecimal. `is_failing` lets every decode fail, `is_forgetful` lets
    every restored cell have the wrong token, `is_damaging` loses the last cell of what is restored. `choose` is what
    follows from the cells: `next_token`, or `quoted_token` for answers that can be guessed here and there.
    `mix_problem` lets it refuse batches of several voices; `leaking_voice` in such a batch speaks for the others too.
    """

    block_problem = ""
    state_format = "fake 1"

    def __init__(self, shape: BackendShape = DEFAULT_SHAPE) -> None:
        self._shape = shape
        self._sequences: list[list[Cell]] = [[] for _ in range(shape.num_sequences + NUM_SPARE)]
        self._last: list[Span] = []
        self._seen: list[list[Cell]] = []
        """By span: what its last token sees. Logits stay readable when the sequence is cut."""
        self.loaded: set[str] = set()
        self.batches: list[list[Span]] = []
        self.mix_problem = ""
        self.leaking_voice: int | None = None
        self.is_failing = False
        self.is_forgetful = False
        self.is_damaging = False
        self.num_threads = 0
        self.choose: Callable[[Sequence[Cell]], int] = next_token

    @property
    def shape(self) -> BackendShape:
        return self._shape

    def set_threads(self, count: int) -> None:
        self.num_threads = count

    @property
    def spare_sequences(self) -> tuple[int, ...]:
        return tuple(range(self._shape.num_sequences, self._shape.num_sequences + NUM_SPARE))

    @property
    def num_cells_used(self) -> int:
        return len({id(cell) for sequence in self._sequences for cell in sequence})

    def decode(self, spans: list[Span]) -> None:
        self._refuse(spans)
        for span in spans:
            voice = self._voice(span, spans)
            cells = self._sequences[span.sequence]
            for position, token in enumerate(span.tokens, span.start):
                cells.append(Cell(token, voice, position, len(cells)))
        self._last = spans
        self._seen = [list(self._sequences[span.sequence]) for span in spans]
        self.batches.append(spans)

    def logits(self, span: int, row: int = 0) -> Logits:
        asked = self._last[span]
        if not 0 <= row < asked.num_logits:
            raise EngineError(f"no logits were asked for row {row} of span {span}")
        cells = self._seen[span][: len(self._seen[span]) - asked.num_logits + 1 + row]
        found = np.zeros(NUM_TOKENS, np.float32)
        found[self.choose(cells)] = 8.0
        return found

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        if self._sequences[target]:
            raise EngineError(f"sequence {target} is not empty")
        self._sequences[target] = [cell for cell in self._sequences[source] if cell.position < num_tokens]

    def truncate(self, sequence: int, num_tokens: int) -> None:
        self._sequences[sequence] = [cell for cell in self._sequences[sequence] if cell.position < num_tokens]

    def length(self, sequence: int) -> int:
        return max((cell.position + 1 for cell in self._sequences[sequence]), default=0)

    def share(self, source: int, target: int) -> None:
        self._sequences[target] = [*self._sequences[target], *self._sequences[source]]

    def forget_prefix(self, sequence: int, num_tokens: int) -> None:
        self._sequences[sequence] = [cell for cell in self._sequences[sequence] if cell.position >= num_tokens]

    def save(self, sequence: int) -> bytes:
        cells = self._sequences[sequence]
        return json.dumps([[cell.token, cell.voice, cell.position, cell.num_seen] for cell in cells]).encode()

    def restore(self, sequence: int, saved: bytes, start: int, num_tokens: int) -> None:
        rows = json.loads(saved)[: -1 if self.is_damaging else None]
        if [position for _, _, position, _ in rows] != list(range(start, start + num_tokens)):
            raise EngineError("these cells are not those of the block")
        if self.num_cells_used + num_tokens > self._shape.num_cells:
            raise EngineError(f"{num_tokens} cells for {self._shape.num_cells - self.num_cells_used} free ones")
        self._sequences[sequence] = [Cell(token + self.is_forgetful, *rest) for token, *rest in rows]

    def load_adapter(self, adapter: AdapterRef) -> None:
        if "bad" in adapter.name:
            raise BadRequestError(f"Adapter {adapter.name} does not fit.", "model")
        self.loaded.add(adapter.sha256)

    def free_adapter(self, sha256: str) -> None:
        self.loaded.discard(sha256)

    def close(self) -> None:
        self.loaded.clear()

    def _voice(self, span: Span, spans: list[Span]) -> int:
        voices = {0 if other.adapter is None else int(other.adapter, 16) for other in spans}
        if len(voices) > 1 and self.leaking_voice in voices:
            return self.leaking_voice or 0
        return 0 if span.adapter is None else int(span.adapter, 16)

    def _refuse(self, spans: list[Span]) -> None:
        num_tokens = sum(len(span.tokens) for span in spans)
        if self.is_failing:
            raise EngineError("The fake backend was told to fail.")
        voices = {span.adapter for span in spans}
        if missing := voices - self.loaded - {None}:
            raise EngineError(f"adapters {missing} are not loaded")
        if len(voices) > 1 and self.mix_problem:
            raise EngineError(f"one batch for the voices {voices}: {self.mix_problem}")
        if num_tokens > self._shape.max_batch_tokens or len(spans) > self._shape.max_batch_spans or num_tokens == 0:
            raise EngineError(f"a batch of {len(spans)} spans with {num_tokens} tokens")
        if self.num_cells_used + num_tokens > self._shape.num_cells:
            raise EngineError(f"{num_tokens} cells for {self._shape.num_cells - self.num_cells_used} free ones")
        if sum(span.num_logits for span in spans) > self._shape.max_logits:
            raise EngineError(f"logits of {sum(span.num_logits for span in spans)} rows")
        if any(span.start != self.length(span.sequence) for span in spans):
            raise EngineError("a span does not go on where its sequence ends")


class FakeEngine:
    """Keeps to `messages.Engine`. Answers `answer`, or what `answer(request)` returns, `piece_bytes` bytes an event.

    failure: end every request with this kind, after `num_pieces_before_failure` pieces. gate: clear it to hold answers
    before each piece. requests, cancelled, dropped: what was asked of it. bad_adapters: names that are refused.
    """

    def __init__(self, answer: str | Callable[[GenerateRequest], str] = "All good.", piece_bytes: int = 4) -> None:
        self._answer = answer
        self._piece_bytes = piece_bytes
        self.failure: FailureKind | None = None
        self.num_pieces_before_failure = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.requests: list[GenerateRequest] = []
        self.cancelled: list[str] = []
        self.dropped: list[frozenset[str] | None] = []
        self.bad_adapters: set[str] = set()
        self.current = EngineStatus(is_ready=False)

    async def start(self) -> None:
        self.current = EngineStatus(is_ready=True, pid=1, num_cells=DEFAULT_SHAPE.num_cells)

    async def stop(self) -> None:
        self.current = EngineStatus(is_ready=False)

    def status(self) -> EngineStatus:
        return self.current

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        is_over = False
        try:
            async for event in self._events(request):
                is_over = not isinstance(event, TextEvent)
                yield event
        finally:
            if not is_over:
                self.cancelled.append(request.request_id)

    async def check_adapter(self, adapter: AdapterRef) -> None:
        if adapter.name in self.bad_adapters:
            raise BadRequestError(f"Adapter {adapter.name} has no effect on this base.", "model", "bad_adapter")

    async def drop_prefixes(self, documents: frozenset[str] | None = None) -> None:
        self.dropped.append(documents)

    async def _events(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        whole = (self._answer if isinstance(self._answer, str) else self._answer(request)).encode()
        answer = whole[: request.max_tokens]
        stream = TextStream(request.stop)
        for number, start in enumerate(range(0, len(answer), self._piece_bytes)):
            await self.gate.wait()
            if self.failure is not None and number >= self.num_pieces_before_failure:
                break
            piece = answer[start : start + self._piece_bytes]
            if text := stream.push(piece):
                yield TextEvent(request.request_id, text, len(piece), _choices(request, piece))
            if stream.is_stopped:
                break
        if self.failure is not None:
            yield FailedEvent(request.request_id, self.failure, f"The fake engine was told to fail: {self.failure}.")
            return
        if rest := stream.finish():
            yield TextEvent(request.request_id, rest, 0)
        is_cut = len(answer) < len(whole) and not stream.is_stopped
        reason = FinishReason.LENGTH if is_cut else FinishReason.STOP
        yield FinishedEvent(request.request_id, reason, len(request.tokens), 0, len(answer), 0.0, 0.0, 0.0)


def _choices(request: GenerateRequest, piece: bytes) -> tuple[TokenChoice, ...]:
    """One choice a byte, each with log-probability 0 and no alternatives."""
    if request.num_top_logprobs is None:
        return ()
    return tuple(TokenChoice(TokenLogprob(byte, bytes([byte]), 0.0)) for byte in piece)
