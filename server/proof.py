"""Proof that a converted adapter does in llama.cpp what it did in PEFT, that it does something, and nothing else.

On 20 prompts, as the server renders them: logits of PEFT on the dequantised base against those of llama.cpp on the GGUF
base; the divergence that the adapter makes; and the base's own logits before it was loaded and while it is off. Each
side runs in a process that is thrown away.

llama.cpp rounds activations for a quantised base, so its logits differ from PEFT's without any adapter. That difference
is measured in the same run, and the adapter may add little to it. With the q/k rows of a trained adapter in the wrong
order, or with half its scale, it adds several times as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.lora_header import is_plain
from adapters.registry import file_sha256
from config.chat_template import turn_format_from_template
from config.errors import BadRequestError
from config.prompt import Conversation, Prompt, Source, Turn, render
from server.apart import Apart
from server.engine.adapter_proof import ProofPrompt, Rows, ServedRows, served_rows
from server.engine.messages import AdapterRef
from server.engine.vocabulary import Vocabulary

LIMIT_SECONDS = 900.0
LARGEST_BASE_DIVERGENCE = 0.2
"""Nats between the base's own next-token distributions, dequantised and served, mean over the prompts. Beyond it the
two are different models: training read the file otherwise than llama.cpp does, and no adapter can be right for both."""
LARGEST_GROWTH = 2.0
"""Times the base's own mean difference that the adapted logits may differ by."""
SMALLEST_ALLOWANCE = 0.02
"""Logits: what rounding the adapter to float16 may cost where the base itself agrees exactly."""
LARGEST_DIVERGENCE = 0.05
"""Nats between PEFT's next-token distribution and llama.cpp's, mean over the prompts, beyond the base's own."""
SMALLEST_EFFECT = 1e-4
"""Nats between with and without the adapter, mean over the prompts: below it, nobody could tell them apart."""
SUBJECTS = (
    ("How many days of leave are there", "Leave", "Full-time staff get 26 days of leave a year."),
    ("Who pays for a train ticket", "Travel", "The department pays for second class train tickets."),
    ("When is the office closed", "Opening hours", "The office closes at 18:00 and all day on Sunday."),
    ("What does the small box cost", "Prices", "The small box costs 12 EUR, the large one 19 EUR."),
    ("How long is the warranty", "Warranty", "The warranty lasts 24 months from the day of purchase."),
    ("May I bring a dog", "House rules", "Dogs are welcome on the ground floor only."),
    ("How do I reset my password", "Accounts", "Passwords are reset on the account page, under Security."),
    ("Where is the first-aid kit", "Safety", "First-aid kits hang beside every lift."),
    ("Which countries do you ship to", "Shipping", "We ship to France, Spain and Italy."),
    ("What is the limit for hotels", "Expenses", "Hotels are paid up to 140 EUR a night."),
)
ENDINGS = ("?", ", please? Answer briefly.")


@dataclass(frozen=True, slots=True)
class Proof:
    """Figures of one proof, for the card. Differences are of logits, divergences in nats, both over `num_prompts`.

    The three `peft` figures are None for an adapter that came without PEFT weights: there is nothing to compare with.
    """

    num_prompts: int
    effect_mean: float
    effect_max: float
    is_base_unchanged: bool
    base_difference_mean: float | None = None
    peft_difference_mean: float | None = None
    peft_difference_max: float | None = None
    peft_divergence_mean: float | None = None

    def __str__(self) -> str:
        effect = f"effect {self.effect_mean:.3g} nats, base unchanged"
        if self.peft_difference_mean is None:
            return f"{effect}; no PEFT weights to compare with"
        return (
            f"llama.cpp against PEFT: logits differ by {self.peft_difference_mean:.3f} on average (the base's own by"
            f" {self.base_difference_mean:.3f}), at most {self.peft_difference_max:.3f}; {effect}"
        )


def proof_prompts(base: Path, instructions: str) -> list[ProofPrompt]:
    """Twenty, each with a source and the brand's instructions, in the base's turn format."""
    vocabulary = Vocabulary.open(base)
    form = turn_format_from_template(
        vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text, add_bos=vocabulary.add_bos
    )
    conversations = [
        Conversation((Turn("user", question + ending),), (Source(1, title, "", text),), instructions)
        for question, title, text in SUBJECTS
        for ending in ENDINGS
    ]
    return [_proof_prompt(render(conversation, form, vocabulary.encode)) for conversation in conversations]


def prove(base: Path, gguf: Path, peft_folder: Path | None, prompts: Sequence[ProofPrompt]) -> Proof:
    """Blocks for some seconds up to minutes. Raises BadRequestError with the reason and the figure.

    peft_folder: what `gguf` was converted from, None where only the GGUF file exists.
    """
    apart = Apart(f"The adapter {gguf.name}", LIMIT_SECONDS)
    sha256 = file_sha256(gguf)
    served = apart(served_rows, base, AdapterRef(gguf.name, gguf.absolute(), sha256), prompts)
    effects = divergence(served.adapted, served.before)
    proof = Proof(
        num_prompts=len(prompts),
        effect_mean=float(effects.mean()),
        effect_max=float(effects.max()),
        is_base_unchanged=bool(np.array_equal(served.before, served.after)),
    )
    _check_effect(gguf, served, proof)
    if peft_folder is None:
        return proof
    from adapters.training.reference import reference_rows

    plain = is_plain(gguf, sha256)
    asked = [(prompt.tokens, prompt.boundary(plain=plain)) for prompt in prompts]
    return _compared(gguf, proof, served, *apart(reference_rows, base, peft_folder, asked))


def divergence(left: Rows, right: Rows) -> Rows:
    """Kullback-Leibler, in nats, of the next-token distributions; shape (prompts,)."""
    first, second = _log_probabilities(left), _log_probabilities(right)
    result: Rows = (np.exp(first) * (first - second)).sum(axis=1)
    return result


def _compared(gguf: Path, proof: Proof, served: ServedRows, plain: Rows, adapted: Rows) -> Proof:
    own, difference = _difference(served.before, plain), _difference(served.adapted, adapted)
    own_divergence = float(divergence(plain, served.before).mean())
    found = Proof(
        num_prompts=proof.num_prompts,
        effect_mean=proof.effect_mean,
        effect_max=proof.effect_max,
        is_base_unchanged=proof.is_base_unchanged,
        base_difference_mean=float(own.mean()),
        peft_difference_mean=float(difference.mean()),
        peft_difference_max=float(difference.max()),
        peft_divergence_mean=float(divergence(adapted, served.adapted).mean()),
    )
    if own_divergence > LARGEST_BASE_DIVERGENCE:
        raise _refusal(gguf, f"the base itself is another one in training, by {own_divergence:.3f} nats")
    allowed = max(SMALLEST_ALLOWANCE, LARGEST_GROWTH * float(own.mean()))
    if float(difference.mean()) > allowed:
        raise _refusal(gguf, f"its logits differ by {difference.mean():.3f} from PEFT's; {allowed:.3f} is allowed")
    divergent = found.peft_divergence_mean or 0.0
    if divergent > own_divergence + LARGEST_DIVERGENCE:
        raise _refusal(gguf, f"it diverges from PEFT by {divergent:.3f} nats, the base by {own_divergence:.3f}")
    return found


def _check_effect(gguf: Path, served: ServedRows, proof: Proof) -> None:
    if not np.isfinite(served.adapted).all():
        raise _refusal(gguf, "it makes the model compute values that are no numbers")
    if proof.effect_mean < SMALLEST_EFFECT:
        raise _refusal(gguf, f"it has no effect: {proof.effect_mean:.2g} nats, at least {SMALLEST_EFFECT:g} are needed")
    if not proof.is_base_unchanged:
        raise _refusal(gguf, "the base computes other values after it was loaded")


def _proof_prompt(prompt: Prompt) -> ProofPrompt:
    return ProofPrompt(prompt.tokens, prompt.voice_boundary)


def _difference(left: Rows, right: Rows) -> Rows:
    """Of the logits, less what is common to a whole row: it changes no distribution."""
    centred = (left - left.mean(axis=1, keepdims=True)) - (right - right.mean(axis=1, keepdims=True))
    result: Rows = np.abs(centred)
    return result


def _log_probabilities(logits: Rows) -> Rows:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: Rows = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _refusal(gguf: Path, reason: str) -> BadRequestError:
    return BadRequestError(f"The adapter {gguf.name} failed its proof: {reason}.", "adapter", "bad_adapter")
