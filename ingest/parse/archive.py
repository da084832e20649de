"""Office files are ZIP archives: refuse bombs by their declared sizes before anything is unpacked.

A size that was declared too small is no way around: the standard library unpacks no more than that, and finds the
checksum wrong. Archives inside archives are never opened.
"""

import io
import zipfile

from ingest.parse.reasons import ParseError, Reason

MAX_UNPACKED_BYTES = 1_000_000_000
MAX_RATIO = 100
MAX_MEMBERS = 100_000
FREE_BYTES = 50_000_000
"""Up to this unpacked size any ratio is fine: empty spreadsheets compress very well."""


def check_archive(data: bytes) -> list[str]:
    """The member names. Raises ParseError for a broken archive (damaged) or a bomb (too_large)."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise ParseError(Reason.DAMAGED, f"The file is no whole ZIP archive ({error}).") from error
    if len(members) > MAX_MEMBERS:
        raise ParseError(Reason.TOO_LARGE, f"It is an archive of {len(members):,} files.")
    if sum(member.compress_size for member in members) > len(data):
        # Fifield, "A better zip bomb" (WOOT 2019): many names for the same packed bytes.
        raise ParseError(Reason.DAMAGED, "The files in its archive overlap, as those of a ZIP bomb do.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES or unpacked > max(FREE_BYTES, MAX_RATIO * len(data)):
        raise ParseError(Reason.TOO_LARGE, f"It unpacks from {len(data):,} to {unpacked:,} bytes.")
    if any(member.flag_bits & 1 for member in members):
        raise ParseError(Reason.ENCRYPTED, "The archive is protected by a password.")
    return [member.filename for member in members]
