"""No network for a parse worker: an empty network namespace where the kernel grants one, and a Python hook everywhere.

What each is worth: a process in a network namespace of its own has no interface but a loopback that is down, so native
libraries reach nothing either. Root may make one; others where the kernel allows user namespaces (many container
runtimes do not). Without it, and on systems other than Linux, the hook refuses sockets, name look-ups and child
processes that *Python code* asks for; a native library that was taken over by its input could still open a socket.
"""

import ctypes
import sys

CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
REFUSED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")
"""Beginnings of the names of audit events: https://docs.python.org/3/library/audit_events.html"""


def cut_network() -> bool:
    """Take the network from this process, for good. Call it while there is one thread.

    True where the kernel did it; False where only the hook stands in the way.
    """
    is_cut = _leave_network()
    sys.addaudithook(_refuse)
    return is_cut


def _leave_network() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    # os.unshare exists from Python 3.12 on.
    system = ctypes.CDLL(None, use_errno=True)
    return any(system.unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event.startswith(REFUSED):
        raise PermissionError(f"A parse worker has no network and starts no processes ({event}).")
