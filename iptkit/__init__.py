"""Read, check, compare, write and apply iptables rulesets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iptkit.api import diff, interpret, lint, load, parse, plan, restore, save

__version__ = "0.1.0"

__all__ = ["diff", "interpret", "lint", "load", "parse", "plan", "restore", "save"]


def __getattr__(name: str) -> object:
    """Import the API on first use: `import iptkit` itself stays free of cost."""
    if name in __all__:
        from iptkit import api

        return getattr(api, name)
    raise AttributeError(f"module 'iptkit' has no attribute {name!r}")
