"""Wire types: what clients send, checked by pydantic; they never enter the engine."""
