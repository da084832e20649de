"""S6 on the real scheduler and prefix cache: what only some may read gives nobody else a cache hit, word for word."""

from dataclasses import dataclass, replace

from config.chat_template import turn_format_from_template
from config.prompt import Conversation, Source, Turn, render
from config.settings import load_settings
from ingest.access.reader import Requirement
from ingest.documents import Document
from server.candidates import RetrievedSource
from server.condense import Condenser
from server.engine.fake import DEFAULT_SHAPE, FakeEngine, fake_vocabulary
from server.engine.messages import GenerateRequest, Scope
from server.scopes import own_scope, scopes_of
from tests.server.engine.bench import Bench

SETTINGS = load_settings(environment={}).engine.model_copy(
    update={
        "context_tokens": 4_096,
        "max_request_tokens": 2_000,
        "max_sequences": 8,
        "max_running": 4,
        "prefill_slice_tokens": 32,
    }
)
VOCABULARY = fake_vocabulary()
FORMAT = turn_format_from_template(VOCABULARY.chat_template, VOCABULARY.bos_text, VOCABULARY.eos_text)
DOCUMENT = Document("d", "kb", "d.md", "Pay", "text/markdown", "h", 1, 0, 0)
SECRET = "The director earns 190,000 pounds."
HR: Requirement = (("hr",),)
MAX_TOKENS = 4


@dataclass(frozen=True)
class Ask:
    """Who asks what, with which earlier turns, and what the retrieved source asks of its readers."""

    key_id: str
    question: str = "What does she earn?"
    earlier: tuple[Turn, ...] = ()
    requirement: Requirement = ()
    system: str = ""

    def request(self, request_id: str) -> GenerateRequest:
        source = RetrievedSource(1, DOCUMENT, (), "", "", SECRET, 9, requirement=self.requirement)
        shown = () if self.system else (Source(1, "Pay", "", SECRET),)
        conversation = Conversation((*self.earlier, Turn("user", self.question)), shown, system=self.system)
        prompt = render(conversation, FORMAT, VOCABULARY.encode)
        scopes = scopes_of(prompt, conversation, (source,), self.key_id)
        return GenerateRequest(request_id, prompt.tokens, MAX_TOKENS, prompt.voice_boundary, scopes=scopes)


def num_cached(*asks: Ask) -> int:
    """Ask one after the other; how many tokens the last one found cached."""
    return cached_of([ask.request(str(number)) for number, ask in enumerate(asks)])


def cached_of(requests: list[GenerateRequest]) -> int:
    bench = Bench(SETTINGS, replace(DEFAULT_SHAPE, num_cells=4_096, max_positions=4_096))
    for request in requests:
        bench.core.submit(request)
        bench.run()
    return bench.finished(requests[-1].request_id).num_cached_tokens


def parts(ask: Ask) -> tuple[int, int, int]:
    """Where the sources begin and end, and the length of the prompt."""
    request = ask.request("x")
    scopes = request.scopes
    return scopes[0].start, scopes[-1].start, len(request.tokens)


def test_open_sources_are_shared_by_all_readers_and_questions_by_none() -> None:
    start, end, length = parts(Ask("ann"))
    assert 0 < start == end < length
    assert num_cached(Ask("ann"), Ask("bob")) == end
    assert num_cached(Ask("ann"), Ask("ann")) == length - 1


def test_restricted_sources_are_shared_by_readers_of_the_same_groups_alone() -> None:
    restricted = Ask("ann", requirement=HR)
    start, end, _ = parts(restricted)
    assert 0 < start < end
    assert num_cached(restricted, Ask("bob", requirement=HR)) == end
    assert num_cached(restricted, Ask("bob", requirement=(("board",),))) == start
    assert num_cached(restricted, Ask("bob", requirement=(("board",), ("hr",)))) == start
    assert num_cached(restricted, Ask("bob")) == start


def test_a_brands_words_beside_restricted_sources_are_everybodys_and_what_follows_is_the_keys_own() -> None:
    shown = tuple(Source(number, "Pay", "", SECRET) for number in (1, 2))
    conversation = Conversation((Turn("user", "?"),), shown, brand_words="Be Pip.")
    prompt = render(conversation, FORMAT, VOCABULARY.encode)
    sources = [RetrievedSource(n, DOCUMENT, (), "", "", SECRET, 9, requirement=HR) for n in (1, 2, 3)]
    first, words, own = scopes_of(prompt, conversation, sources, "ann")
    assert (first.start, first.name != "") == (prompt.fact_bounds[0], True)
    assert words == Scope(prompt.fact_bounds[2], "")
    assert own == Scope(prompt.fact_bounds[3], own_scope("ann"))


def test_a_guess_of_the_whole_prompt_gains_nothing() -> None:
    """The raw completions route takes any tokens, so a stranger could try prompt after prompt and time them."""
    known = Ask("ann", requirement=HR).request("1")
    guess = GenerateRequest("2", known.tokens, MAX_TOKENS, scopes=(Scope(0, own_scope("bob")),))
    assert cached_of([known, guess]) == 0


def test_earlier_answers_are_private_even_where_the_sources_are_open() -> None:
    earlier = (Turn("user", "And the director?"), Turn("assistant", SECRET))
    _, end, _ = parts(Ask("ann"))
    assert num_cached(Ask("ann", earlier=earlier), Ask("bob", earlier=earlier)) == end


def test_a_system_message_of_ones_own_is_private() -> None:
    assert num_cached(Ask("ann", system=SECRET), Ask("bob", system=SECRET)) == 0
    assert num_cached(Ask("ann", system=SECRET), Ask("ann", system=SECRET)) > 0


def test_strangers_neither_wait_for_each_others_prompts_nor_share_them_while_they_run() -> None:
    ann, bob = Ask("ann", requirement=HR).request("1"), Ask("bob", requirement=(("board",),)).request("2")
    bench = Bench(SETTINGS, replace(DEFAULT_SHAPE, num_cells=4_096, max_positions=4_096))
    bench.core.submit(ann)
    bench.core.submit(bob)
    bench.run()
    assert bench.finished("2").num_cached_tokens <= ann.scopes[0].start


async def test_what_a_follow_up_is_condensed_from_is_its_keys_own_and_the_examples_are_everybodys() -> None:
    turns = (
        Turn("user", "What does the director earn?"),
        Turn("assistant", SECRET),
        Turn("user", "and the other one?"),
    )
    engine = FakeEngine("What does the other director earn?")
    settings = load_settings(environment={}).retrieval.model_copy(update={"condense": "auto", "condense_seconds": 60.0})
    condenser = Condenser(engine, VOCABULARY.encode, FORMAT, settings)
    await engine.start()
    for key_id in ("ann", "bob", "ann"):
        found = await condenser.rewrite(turns, "r", key_id)
        assert found.method == "condensed"
    ann, bob, _ = engine.requests
    start = ann.scopes[0].start
    assert (ann.scopes, bob.scopes) == ((Scope(start, own_scope("ann")),), (Scope(start, own_scope("bob")),))
    assert SECRET in text_of(ann.tokens[start:])
    assert SECRET not in text_of(ann.tokens[:start])
    assert "Lumo" in text_of(ann.tokens[:start])


def text_of(tokens: tuple[int, ...]) -> str:
    return b"".join(VOCABULARY.piece(token) for token in tokens).decode()
