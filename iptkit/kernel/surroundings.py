"""What a machine knows besides its rules: its connections, its addresses and its routes."""

from __future__ import annotations

from iptkit.kernel.nftchild import ToolError, run_tool

_PROC = "/proc/self/net/nf_conntrack"
_TOPOLOGY = (("-j", "addr"), ("-j", "route"), ("-6", "-j", "route"))


def live_connections() -> list[str]:
    """The connections in use, as lines of a dump; none where nothing is tracked.

    From /proc where the kernel has it, else from conntrack(8).  Raises ToolError.
    """
    try:
        with open(_PROC, encoding="latin-1") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ToolError(f"cannot read the connections in use: {error.strerror}", error.errno or 0) from error
    done = run_tool("conntrack", ["-L"])
    if done.status:
        raise ToolError(f"conntrack -L: {done.stderr.decode('latin-1').strip()}")
    return done.stdout.decode("latin-1").splitlines()


def live_topology() -> list[tuple[str, str]]:
    """What ip(8) prints of interfaces and routes, with the commands as names.  Raises ToolError."""
    found = []
    for arguments in _TOPOLOGY:
        done = run_tool("ip", arguments)
        if done.status:
            raise ToolError(f"ip {' '.join(arguments)}: {done.stderr.decode('latin-1').strip()}")
        found.append((f"ip {' '.join(arguments)}", done.stdout.decode("latin-1")))
    return found
