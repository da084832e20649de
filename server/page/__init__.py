"""The files of the built-in chat page, served as they are by `server.api.page`."""
