"""Match the connection tracking state of a packet, the older way."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.connections import State

EXTENSIONS: tuple[Any, ...] = (State,)
