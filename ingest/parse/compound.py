"""Compound files (OLE2, magic D0CF11E0): none is read, but why not differs, and so does what helps.

A protected DOCX, XLSX or PPTX is such a container around its encrypted package. Which lock it has is told by the names
in its directory: [MS-OFFCRYPTO] 2.2 for rights management, 2.3 for passwords.
"""

from ingest.parse.reasons import ParseError, Reason

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
RIGHTS_MARKS = ("DRMEncryptedTransform", "DRMEncryptedDataSpace", "DRMViewerContent", "\tDRMContent")
OLDER_KINDS = (
    ("WordDocument", "a Word document of before 2007 (.doc). Save it as .docx."),
    ("PowerPoint Document", "a PowerPoint presentation of before 2007 (.ppt). Save it as .pptx."),
    ("__properties_version1.0", "an Outlook message (.msg). Save it as .eml."),
    ("Workbook", "an Excel workbook of before 2007 (.xls). Save it as .xlsx."),
    ("Book", "an Excel workbook of before 2007 (.xls). Save it as .xlsx."),
)


def why_not(data: bytes) -> ParseError:
    """The reason for a file that begins with MAGIC: rights_managed, encrypted or unsupported."""
    if any(_names(mark, data) for mark in RIGHTS_MARKS):
        return ParseError(
            Reason.RIGHTS_MANAGED, "It is protected by rights management (IRM). Save a copy without protection."
        )
    if _names("EncryptedPackage", data):
        return ParseError(Reason.ENCRYPTED, "The Office file opens only with a password. Save a copy without one.")
    for name, what in OLDER_KINDS:
        if _names(name, data):
            return ParseError(Reason.UNSUPPORTED, f"It is {what}")
    return ParseError(
        Reason.UNSUPPORTED, "It is a compound file of before 2007. Save it as .docx, .xlsx, .pptx or .eml."
    )


def _names(name: str, data: bytes) -> bool:
    """Directory entries hold their names in UTF-16, ended by a zero."""
    return f"{name}\0".encode("utf-16-le") in data
