"""A running server with the sample company, as a person at a terminal and a client see it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai


@dataclass(frozen=True, slots=True)
class Company:
    """A running server with the sample company, and a client of it."""

    url: str
    data: Path
    client: openai.OpenAI

    def ask(self, model: str, question: str) -> Any:
        message: Any = {"role": "user", "content": question}
        return self.client.chat.completions.create(model=model, messages=[message], temperature=0).choices[0].message

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return housevoice(self.data, *arguments)


def housevoice(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli.main", "--data-dir", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
