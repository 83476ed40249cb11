"""Send packets to this machine itself."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.nat import PortsValue, RangeStruct, Translation
from iptkit.extensions.spec import Flag, Option, Place


class _Redirect(Translation):
    """Change the destination of a connection to this machine.

    That is the first address of the interface the packet came in by; for
    connections of the machine's own it is loopback.  Ports need a protocol
    that has them.
    """

    where = Place(tables=("nat",), hooks=("PREROUTING", "OUTPUT"))
    range_field = "to_ports"
    revision = 0
    to_ports = Option("--to-ports", type=PortsValue("refused"), doc="go to these ports: port[-port]")
    random = Flag("--random", doc="choose the port at random")
    example = "-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128"


class Redirect4(_Redirect, name="REDIRECT", families=(4,)):
    __doc__ = _Redirect.__doc__
    layout = Layout(RangeStruct("compat", "to_ports", ("random",)))


class Redirect6(_Redirect, name="REDIRECT", families=(6,)):
    __doc__ = _Redirect.__doc__
    layout = Layout(RangeStruct("range", "to_ports", ("random",)))


EXTENSIONS: tuple[Any, ...] = (Redirect4, Redirect6)
