"""Match what connection tracking knows of a packet."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.connections import Conntrack

EXTENSIONS: tuple[Any, ...] = (Conntrack,)
