"""Files to text with locations: one file a format, and the worker processes that contain hostile input."""
