"""Web pages as documents: fetched with care, kept as files, read like any other."""
