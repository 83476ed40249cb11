"""Findings as text for people and as documents for programs."""

from __future__ import annotations

from iptkit.report.text import render_text

__all__ = ["render_text"]
