"""The sysctls of connection tracking, and timeout policies.

Names and defaults: /proc/sys/net/netfilter of Linux 6.18, and
Documentation/networking/nf_conntrack-sysctl.rst.  All timeouts are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.text.record import NamedTuple
from iptkit.values.packet import GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Places in the list of TCP timeouts, in the order of enum tcp_conntrack (nf_conntrack_tcp.h).
(TCP_NONE, TCP_SYN_SENT, TCP_SYN_RECV, TCP_ESTABLISHED, TCP_FIN_WAIT, TCP_CLOSE_WAIT) = range(6)
(TCP_LAST_ACK, TCP_TIME_WAIT, TCP_CLOSE, TCP_SYN_SENT2, TCP_RETRANS, TCP_UNACK) = range(6, 12)
UNREPLIED, REPLIED = 0, 1  # places in the lists of UDP, UDP-Lite and GRE


class Row(NamedTuple):
    """One sysctl: its name below net.netfilter, its default, and where Settings keeps it."""

    name: str
    default: int
    field: str
    place: int = -1  # in a list of timeouts


SYSCTLS = (
    Row("nf_conntrack_acct", 0, "acct"),
    Row("nf_conntrack_buckets", 262144, "buckets"),
    Row("nf_conntrack_checksum", 1, "checksum"),
    Row("nf_conntrack_events", 2, "events"),
    Row("nf_conntrack_expect_max", 4096, "expect_max"),
    Row("nf_conntrack_frag6_high_thresh", 4194304, "frag6_high_thresh"),
    Row("nf_conntrack_frag6_low_thresh", 3145728, "frag6_low_thresh"),
    Row("nf_conntrack_frag6_timeout", 60, "frag6_timeout"),
    Row("nf_conntrack_generic_timeout", 600, "generic_timeouts", 0),
    Row("nf_conntrack_gre_timeout", 30, "gre_timeouts", UNREPLIED),
    Row("nf_conntrack_gre_timeout_stream", 180, "gre_timeouts", REPLIED),
    Row("nf_conntrack_icmp_timeout", 30, "icmp_timeouts", 0),
    Row("nf_conntrack_icmpv6_timeout", 30, "icmpv6_timeouts", 0),
    Row("nf_conntrack_log_invalid", 0, "log_invalid"),
    Row("nf_conntrack_max", 262144, "max"),
    Row("nf_conntrack_sctp_timeout_closed", 10, "sctp_timeouts", 1),
    Row("nf_conntrack_sctp_timeout_cookie_wait", 3, "sctp_timeouts", 2),
    Row("nf_conntrack_sctp_timeout_cookie_echoed", 3, "sctp_timeouts", 3),
    Row("nf_conntrack_sctp_timeout_established", 210, "sctp_timeouts", 4),
    Row("nf_conntrack_sctp_timeout_shutdown_sent", 3, "sctp_timeouts", 5),
    Row("nf_conntrack_sctp_timeout_shutdown_recd", 3, "sctp_timeouts", 6),
    Row("nf_conntrack_sctp_timeout_shutdown_ack_sent", 3, "sctp_timeouts", 7),
    Row("nf_conntrack_sctp_timeout_heartbeat_sent", 30, "sctp_timeouts", 8),
    Row("nf_conntrack_tcp_be_liberal", 0, "tcp_be_liberal"),
    Row("nf_conntrack_tcp_ignore_invalid_rst", 0, "tcp_ignore_invalid_rst"),
    Row("nf_conntrack_tcp_loose", 1, "tcp_loose"),
    Row("nf_conntrack_tcp_max_retrans", 3, "tcp_max_retrans"),
    Row("nf_conntrack_tcp_timeout_syn_sent", 120, "tcp_timeouts", TCP_SYN_SENT),
    Row("nf_conntrack_tcp_timeout_syn_recv", 60, "tcp_timeouts", TCP_SYN_RECV),
    Row("nf_conntrack_tcp_timeout_established", 432000, "tcp_timeouts", TCP_ESTABLISHED),
    Row("nf_conntrack_tcp_timeout_fin_wait", 120, "tcp_timeouts", TCP_FIN_WAIT),
    Row("nf_conntrack_tcp_timeout_close_wait", 60, "tcp_timeouts", TCP_CLOSE_WAIT),
    Row("nf_conntrack_tcp_timeout_last_ack", 30, "tcp_timeouts", TCP_LAST_ACK),
    Row("nf_conntrack_tcp_timeout_time_wait", 120, "tcp_timeouts", TCP_TIME_WAIT),
    Row("nf_conntrack_tcp_timeout_close", 10, "tcp_timeouts", TCP_CLOSE),
    Row("nf_conntrack_tcp_timeout_max_retrans", 300, "tcp_timeouts", TCP_RETRANS),
    Row("nf_conntrack_tcp_timeout_unacknowledged", 300, "tcp_timeouts", TCP_UNACK),
    Row("nf_conntrack_timestamp", 0, "timestamp"),
    Row("nf_conntrack_udp_timeout", 30, "udp_timeouts", UNREPLIED),
    Row("nf_conntrack_udp_timeout_stream", 120, "udp_timeouts", REPLIED),
)
_BY_NAME = {row.name: row for row in SYSCTLS}

# What a timeout policy (`nfct timeout add`) calls each place; the field of Settings with the defaults.
POLICIES = {
    "generic": ("generic_timeouts", {"timeout": 0}),
    "icmp": ("icmp_timeouts", {"timeout": 0}),
    "icmpv6": ("icmpv6_timeouts", {"timeout": 0}),
    "tcp": (
        "tcp_timeouts",
        {
            "syn_sent": TCP_SYN_SENT,
            "syn_recv": TCP_SYN_RECV,
            "established": TCP_ESTABLISHED,
            "fin_wait": TCP_FIN_WAIT,
            "close_wait": TCP_CLOSE_WAIT,
            "last_ack": TCP_LAST_ACK,
            "time_wait": TCP_TIME_WAIT,
            "close": TCP_CLOSE,
            "syn_sent2": TCP_SYN_SENT2,
            "retrans": TCP_RETRANS,
            "unacknowledged": TCP_UNACK,
        },
    ),
    "udp": ("udp_timeouts", {"unreplied": UNREPLIED, "replied": REPLIED}),
    "udplite": ("udp_timeouts", {"unreplied": UNREPLIED, "replied": REPLIED}),
    "gre": ("gre_timeouts", {"unreplied": UNREPLIED, "replied": REPLIED}),
    "sctp": (
        "sctp_timeouts",
        {
            "closed": 1,
            "cookie_wait": 2,
            "cookie_echoed": 3,
            "established": 4,
            "shutdown_sent": 5,
            "shutdown_recd": 6,
            "shutdown_ack_sent": 7,
            "heartbeat_sent": 8,
        },
    ),
}
PROTOCOL_FIELDS = {
    TCP: "tcp_timeouts",
    UDP: "udp_timeouts",
    UDPLITE: "udp_timeouts",
    GRE: "gre_timeouts",
    SCTP: "sctp_timeouts",
    ICMP: "icmp_timeouts",
    ICMPV6: "icmpv6_timeouts",
}


class Settings:
    """The values of all sysctls; made with the kernel's defaults.

    Lists of timeouts are indexed by state or by UNREPLIED and REPLIED.
    `policies` holds timeout policies by name: (protocol field, list).
    """

    __slots__ = (
        "acct",
        "buckets",
        "checksum",
        "events",
        "expect_max",
        "frag6_high_thresh",
        "frag6_low_thresh",
        "frag6_timeout",
        "generic_timeouts",
        "gre_timeouts",
        "icmp_timeouts",
        "icmpv6_timeouts",
        "log_invalid",
        "max",
        "policies",
        "sctp_timeouts",
        "tcp_be_liberal",
        "tcp_ignore_invalid_rst",
        "tcp_loose",
        "tcp_max_retrans",
        "tcp_timeouts",
        "timestamp",
        "udp_timeouts",
    )
    acct: int
    buckets: int
    checksum: int
    expect_max: int
    frag6_timeout: int
    max: int
    tcp_be_liberal: int
    tcp_ignore_invalid_rst: int
    tcp_loose: int
    tcp_max_retrans: int
    timestamp: int

    def __init__(self, values: Mapping[str, int] | None = None) -> None:
        """Start from the defaults, change some.  Raises KeyError for a name that is no such sysctl."""
        self.generic_timeouts = [0]
        self.icmp_timeouts = [0]
        self.icmpv6_timeouts = [0]
        self.udp_timeouts = [0, 0]
        self.gre_timeouts = [0, 0]
        self.sctp_timeouts = [0] * 9
        self.tcp_timeouts = [0] * 12
        # No sysctl: SYN_SENT2 can be changed by a policy alone.
        self.tcp_timeouts[TCP_SYN_SENT2] = 120
        self.policies: dict[str, tuple[str, list[int]]] = {}
        for row in SYSCTLS:
            self._put(row, row.default)
        for name, value in (values or {}).items():
            self.set(name, value)

    def set(self, name: str, value: int) -> None:
        """Change a sysctl, named as sysctl(8) or /proc/sys names it.  Raises KeyError for another name."""
        self._put(_BY_NAME[sysctl_name(name)], int(value))

    def get(self, name: str) -> int:
        """The value of a sysctl.  Raises KeyError."""
        row = _BY_NAME[sysctl_name(name)]
        held = getattr(self, row.field)
        value: int = held if row.place < 0 else held[row.place]
        return value

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """All sysctls, name and value, in alphabetical order of the kernel's directory."""
        for row in SYSCTLS:
            yield row.name, self.get(row.name)

    def _put(self, row: Row, value: int) -> None:
        if row.place < 0:
            setattr(self, row.field, value)
        else:
            getattr(self, row.field)[row.place] = value

    def add_policy(self, name: str, protocol: str, timeouts: Mapping[str, int]) -> None:
        """Add a timeout policy, as `nfct timeout add NAME inet PROTOCOL k v ...` does.

        What it does not name keeps the present default.  Raises KeyError for
        an unknown protocol or state.
        """
        field, places = POLICIES[protocol]
        values = list(getattr(self, field))
        for key, seconds in timeouts.items():
            values[places[key]] = int(seconds)
        self.policies[name] = (field, values)


def sysctl_name(name: str) -> str:
    """The name below net.netfilter: `net.netfilter.nf_conntrack_max` and the like without their path."""
    return name.replace("/", ".").rpartition(".")[2]
