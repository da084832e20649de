"""Facts: sources are parsed, chunked, embedded and indexed."""
