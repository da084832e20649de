"""Cells of a spreadsheet as a reader sees them, as far as the number format changes the meaning. Pure."""

import datetime
import re

from ingest.parse.outline import one_line

CURRENCY = re.compile(r"\[\$([^\]\-]+)[^\]]*\]|(?<!\[)([$€£¥₹])")
LEADING_ZEROS = re.compile(r"0{2,}")
FIXED_POINT = re.compile(r"0\.(0+)")


def cell_text(value: object, number_format: str = "") -> str:
    """Percentages, currencies, leading zeros and dates (ISO 8601); other numbers in full."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float() | int():
            return _number(value, number_format.split(";")[0])
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.datetime():
            return value.isoformat(sep=" ", timespec="minutes")
        case datetime.time():
            return value.isoformat(timespec="minutes" if not value.second else "seconds")
        case _:
            return one_line(str(value))


def _number(value: float, number_format: str) -> str:
    if "%" in number_format:
        return f"{value * 100:.10g}%"
    if LEADING_ZEROS.fullmatch(number_format) and value == int(value):
        return f"{int(value):0{len(number_format)}d}"
    found = CURRENCY.search(number_format)
    if found:
        symbol = (found[1] or found[2]).strip()
        decimals = FIXED_POINT.search(number_format)
        amount = f"{value:.{len(decimals[1]) if decimals else 0}f}"
        is_before = "0" in number_format[found.end() :]
        return f"{symbol}{'' if len(symbol) == 1 else ' '}{amount}" if is_before else f"{amount} {symbol}"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
