"""A form with one file (RFC 7578), written to disk as it arrives."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from config.errors import BadRequestError, HousevoiceError

MAX_FIELD_BYTES = 10_000
MAX_PARTS = 20


@dataclass(frozen=True, slots=True)
class Form:
    """file_name: as the client spells it. fields: the other parts, as text."""

    file_name: str
    fields: dict[str, str]


async def receive_form(content_type: str, body: AsyncIterator[bytes], target: Path) -> Form:
    """Write the file's bytes to `target`. Raises BadRequestError for what is no form with exactly one file in it."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequestError(
            "The body is no form with a file.", "file", hint="Send multipart/form-data, as curl -F file=@NAME does."
        )
    try:
        with target.open("xb") as file:
            reader = _FormReader(file)
            parser = reader.parser(boundary)
            async for part in body:
                await asyncio.to_thread(parser.write, part)
            parser.finalize()
            return reader.form()
    except FormParserError as error:
        raise BadRequestError(f"The form cannot be read ({error}).", "file") from error
    except OSError as error:
        raise HousevoiceError(f"The file cannot be stored ({error.strerror}).", "Make room on the disk.") from error


class _FormReader:
    """Callbacks of the parser: headers of a part, then its bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file_name: str | None = None
        self._fields: dict[str, bytearray] = {}
        self._header: bytearray = bytearray()
        self._value: bytearray = bytearray()
        self._disposition = b""
        self._field: bytearray | None = None
        self._num_parts = 0
        self._is_complete = False

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": self._write,
                "on_end": self._end,
            },
        )

    def form(self) -> Form:
        if self._file_name is None or not self._is_complete:
            raise BadRequestError("The form holds no file, or ends too early.", "file", "missing_required_parameter")
        return Form(self._file_name, {name: data.decode("utf-8", "replace") for name, data in self._fields.items()})

    def _begin(self) -> None:
        self._num_parts += 1
        self._disposition = b""
        if self._num_parts > MAX_PARTS:
            raise BadRequestError(f"The form has more than {MAX_PARTS} parts.", "file")

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._field = self._fields.setdefault(name, bytearray())
            return
        if name != "file" or self._file_name is not None:
            raise BadRequestError("The form must hold one file, in the field 'file'.", "file")
        self._field = None
        self._file_name = options[b"filename"].decode("utf-8", "replace")

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._file.write(data[start:end])
            return
        self._field.extend(data[start:end])
        if len(self._field) > MAX_FIELD_BYTES:
            raise BadRequestError(f"A field of the form is longer than {MAX_FIELD_BYTES} bytes.")

    def _end(self) -> None:
        self._is_complete = True
