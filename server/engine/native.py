"""The door to the llama.cpp library: loads it once, quietly, and keeps the last lines that it complained about."""

import ctypes
import os
from collections import deque
from functools import cache
from types import ModuleType

from config.environment import prepare_environment

ERROR_LEVEL, CONTINUATION = 3, 5
_complaints: deque[str] = deque(maxlen=8)


@cache
def llama() -> ModuleType:
    """The low-level bindings.

    How its threads wait is read from the environment when it is loaded, see `config.environment`. On an abort it would
    start a debugger to print a backtrace with the arguments in it, which is slow and may show private text.
    """
    prepare_environment()
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    import llama_cpp

    library: ModuleType = llama_cpp
    keep_complaints = _log_callback(library)
    library.llama_log_set(keep_complaints, ctypes.c_void_p(0))
    library.llama_backend_init()
    return library


def complaints() -> str:
    """What the library logged as errors since the last call, as one line."""
    text = " ".join(_complaints)
    _complaints.clear()
    return text


def _log_callback(library: ModuleType) -> object:
    is_error = False

    def keep(level: int, text: bytes, _data: object) -> None:
        nonlocal is_error
        is_error = is_error if level == CONTINUATION else level == ERROR_LEVEL
        if is_error and text.strip():
            _complaints.append(text.decode("utf-8", "replace").strip())

    callback: object = library.llama_log_callback(keep)
    _kept_alive.append(callback)
    return callback


_kept_alive: list[object] = []
"""ctypes callbacks must outlive the library's use of them."""
