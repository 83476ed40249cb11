"""Say how connection tracking is to treat a packet."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.tracking import Ct

EXTENSIONS: tuple[Any, ...] = (Ct,)
