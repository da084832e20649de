"""Server-sent events out of bytes as they arrive. Pure."""

from dataclasses import dataclass, field

DONE = "[DONE]"


@dataclass(slots=True)
class EventReader:
    """Splits a stream into the `data` of its events; comments and other fields are passed over."""

    _rest: bytes = b""
    _lines: list[str] = field(default_factory=list)

    def feed(self, received: bytes) -> list[str]:
        """The data of the events that are complete now; what is not waits for the next bytes."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        found = [data for line in lines if (data := self._line(line.removesuffix(b"\r"))) is not None]
        return [data for data in found if data]

    def _line(self, line: bytes) -> str | None:
        """An event's data at the empty line that ends it."""
        if line:
            name, _, value = line.decode("utf-8", "replace").partition(":")
            if name == "data":
                self._lines.append(value.removeprefix(" "))
            return None
        data, self._lines = "\n".join(self._lines), []
        return data
