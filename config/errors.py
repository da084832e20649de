"""The one error tree. Every error a person can meet says what was wrong, with the value, and what to do next."""


class HousevoiceError(Exception):
    """Base of all errors that are meant for a person.

    message: one sentence that names the offending value.
    hint: the next action, in the imperative; shown on its own line by the CLI and appended in HTTP errors.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(HousevoiceError):
    """A setting, brand file or environment variable is wrong."""


class DataDirectoryError(HousevoiceError):
    """The data directory cannot be used: owned by another process, unreadable, or from a newer release."""


class ModelError(HousevoiceError):
    """A model file is missing, damaged or of a kind that we cannot use."""


class BadRequestError(HousevoiceError):
    """The caller asked for something that cannot be done as asked. `param` names the request field."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value", hint: str = "") -> None:
        super().__init__(message, hint)
        self.param = param
        self.code = code


class NotFoundError(HousevoiceError):
    """The named thing does not exist, or the caller may not know that it does. `param`: the request field that names
    it, where it is not the address.
    """

    def __init__(self, message: str, code: str = "not_found", hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = code
        self.param = param


class OverloadedError(HousevoiceError):
    """Too much is waiting already. `retry_after_seconds` is a whole number of seconds, at least 1."""

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message, "Retry later.")
        self.retry_after_seconds = retry_after_seconds


class EngineError(HousevoiceError):
    """The engine process failed or is restarting; the request in flight is lost and may be sent again."""
