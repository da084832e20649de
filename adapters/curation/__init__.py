"""Example sets before training: read from what people have, looked through, mended, frozen."""
