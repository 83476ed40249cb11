"""Texts that are cut without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Note, ValueCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.optionvalues import OptionValue

LOG_PREFIX = 29  # bytes; struct xt_log_info has 30, with the NUL
NFLOG_PREFIX = 63  # struct xt_nflog_info has 64
COMMENT = 255  # struct xt_comment_info has 256


class LogPrefixCut(ValueCheck, code="IPT212"):
    """The prefix of a log message is too long.

    What: --log-prefix of more than 29 bytes, or --nflog-prefix of more than 63.
    Why: The rest is cut off without a word, often the blank at the end that parts it from the message.
    Example:
        --log-prefix "iptables: dropped in chain INPUT: "
    Instead:
        --log-prefix "ipt drop INPUT: "
    """

    options = ("--log-prefix", "--nflog-prefix")
    longer_than = LOG_PREFIX

    def look(self, value: OptionValue) -> Iterator[Note]:
        limit = LOG_PREFIX if value.flag == "--log-prefix" else NFLOG_PREFIX
        if len(value.text) > limit:
            yield Note(f"only the first {limit} of these {len(value.text)} bytes are kept")


class CommentCut(ValueCheck, code="IPT213"):
    """A comment is too long.

    What: --comment of more than 255 bytes.
    Why: The rest is cut off without a word.
    Example:
        --comment "(256 bytes)"
    Instead:
        --comment "(shorter)"
    """

    options = ("--comment",)
    longer_than = COMMENT

    def look(self, value: OptionValue) -> Iterator[Note]:
        if len(value.text) > COMMENT:
            yield Note(f"only the first {COMMENT} of these {len(value.text)} bytes are kept")
