"""Exempt a packet from connection tracking."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.tracking import Notrack

EXTENSIONS: tuple[Any, ...] = (Notrack,)
