"""What one request was like, kept line by line, so that a report can be made again from the file."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, or one batch of them at once (then with the time and tokens of the whole batch).

    system: who answered. workload, case: what was asked; `size` says how much of it: chunks, or streams at once.
    turn: the same for all systems that were asked the same thing at one time. first_seconds: to the first byte of text;
    of a batch the median. seconds: to the last. num_tokens: of the answers. gap_seconds: the median between two pieces
    of text. stolen_share: of the processors' time meanwhile, what the machine's host gave to others. answers: their
    texts.
    """

    model: str
    workload: str
    case: str
    size: int
    system: str
    round: int
    turn: int
    first_seconds: float
    seconds: float
    num_prompt: int
    num_cached: int
    num_tokens: int
    gap_seconds: float
    load_average: float
    stolen_share: float = 0.0
    answers: tuple[str, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds

    @property
    def decode_rate(self) -> float:
        """Tokens per second behind the first, of a single request; of all where nothing came later."""
        behind = self.seconds - self.first_seconds
        return (self.num_tokens - 1) / behind if behind > 0 else self.tokens_per_second


def write(path: Path, samples: Iterable[Sample], notes: Sequence[str]) -> None:
    """notes: under which conditions, as lines of Markdown."""
    rows = [{"notes": list(notes)}, *(asdict(sample) for sample in samples)]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[list[Sample], tuple[str, ...]]:
    """The samples and the notes. Raises SystemExit for a file that is none of ours."""
    try:
        first, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Sample(**{**row, "answers": tuple(row["answers"])}) for row in rows], tuple(first["notes"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SystemExit(f"{path} holds no samples of this benchmark: {error!r}.") from error
