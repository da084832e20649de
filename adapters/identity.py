"""What an adapter was trained for, and whether that is still what is served.

An adapter is a change to one base, learned behind one rendering of the prompt. With another base its numbers mean
nothing, and with another prompt it hears what it was never taught: it is refused, not tried.
"""

import hashlib
from dataclasses import dataclass

from config.gguf_header import GgufHeader, read_header
from config.models import ModelFile
from config.prompt import PROMPT_VERSION


@dataclass(frozen=True, slots=True)
class Identity:
    """Of a base as it is served, or as an adapter says it was. Hashes in hex; "" where it is not known.

    template_sha256: of the chat template's text in the base's file.
    """

    base_sha256: str
    tokenizer_sha256: str = ""
    template_sha256: str = ""
    prompt_version: int = PROMPT_VERSION


def identity_of(base: ModelFile) -> Identity:
    """What an adapter for this base is trained for now. Raises ModelError for a damaged file."""
    header = read_header(base.path)
    return Identity(base.sha256, header.tokenizer_sha256, template_sha256(header))


def template_sha256(header: GgufHeader) -> str:
    template = header.text("tokenizer.chat_template")
    return hashlib.sha256(template.encode()).hexdigest() if template else ""


def differences(trained: Identity, served: Identity) -> list[str]:
    """In what they differ, in words; what either side does not know is not compared."""
    hashes = (
        ("base", trained.base_sha256, served.base_sha256),
        ("tokenizer", trained.tokenizer_sha256, served.tokenizer_sha256),
        ("chat template", trained.template_sha256, served.template_sha256),
    )
    found = [
        f"another {name} ({theirs[:12]}, served is {ours[:12]})"
        for name, theirs, ours in hashes
        if theirs and ours and theirs != ours
    ]
    if trained.prompt_version != served.prompt_version:
        found.append(f"prompt version {trained.prompt_version} (this release renders {served.prompt_version})")
    return found
