"""Dumps and sysctls of connection tracking, as this machine's kernel and conntrack(8) have them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from iptkit.conntrack import dump
from iptkit.conntrack.settings import SYSCTLS

if TYPE_CHECKING:
    from tests.kernel.conftest import Netns

pytestmark = pytest.mark.kernel

# What depends on the machine's memory, or on the administrator
LOCAL = {"nf_conntrack_buckets", "nf_conntrack_max", "nf_conntrack_expect_max"}
LOCAL |= {"nf_conntrack_frag6_high_thresh", "nf_conntrack_frag6_low_thresh"}


def run(netns: Netns, script: str) -> str:
    netns.need("iptables-legacy", "ip6tables-legacy", "conntrack")
    # A rule that needs connection tracking switches it on.
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        netns.run(tool, "-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW")
    return netns.run("sh", "-ec", script).stdout.decode("ascii")


ENTRIES = """
sysctl -qw net.netfilter.nf_conntrack_acct=$ACCT
conntrack -I -p udp -s 10.0.1.2 -d 10.0.2.2 --sport 1024 --dport 53 -t 100 -m 7
conntrack -I -p tcp -s 10.0.1.2 -d 10.0.2.2 --sport 1 --dport 53 -t 100 -u SEEN_REPLY,ASSURED \\
    --state ESTABLISHED -w 5
conntrack -I -p tcp -s 10.0.1.2 -d 10.0.2.2 --sport 2 --dport 53 -t 100 --state SYN_SENT --orig-zone 5
conntrack -I -p tcp -s 10.0.1.2 -d 10.0.2.2 --sport 3 --dport 53 -t 100 --state TIME_WAIT --reply-zone 5
conntrack -I -p udp -s 10.0.1.2 -d 10.0.2.2 --sport 9 --dport 53 -r 10.0.3.3 -q 10.0.1.2 \\
    --reply-port-src 5353 --reply-port-dst 9 -t 100
conntrack -I -p icmp -s 10.0.1.2 -d 10.0.2.2 --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 100
conntrack -I -p gre -s 10.0.1.2 -d 10.0.2.2 --srckey 5 --dstkey 0x77 -t 100
conntrack -I -p 99 -s 10.0.1.2 -d 10.0.2.2 -t 100
conntrack -I -p sctp -s 10.0.1.2 -d 10.0.2.2 --sport 4 --dport 53 -t 100 --state SHUTDOWN_ACK_SENT \\
    --orig-vtag 5 --reply-vtag 6 -u SEEN_REPLY
conntrack -I -p udplite -s fd00::1 -d ::1.2.3.4 --sport 1 --dport 2 -t 100
conntrack -I -p icmpv6 -s fd00::1 -d fd00::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 77 -t 100
echo == proc
cat /proc/net/nf_conntrack
echo == conntrack
conntrack -L -f ipv4 2>/dev/null
conntrack -L -f ipv6 2>/dev/null
echo == extended
conntrack -L -f ipv4 -o extended 2>/dev/null
conntrack -L -f ipv6 -o extended 2>/dev/null
"""


@pytest.mark.parametrize("accounting", [0, 1])
def test_dumps_are_read_and_printed_as_the_tools_print_them(accounting: int, netns: Netns) -> None:
    out = run(netns, ENTRIES.replace("$ACCT", str(accounting)))
    _, proc, plain, extended = re.split(r"== \w+\n", out)
    for line in proc.splitlines():
        use = int(line.rpartition("=")[2])
        assert dump.proc_line(dump.parse(line, 5.0), 5.0, use) == line
    for line in plain.splitlines():
        assert dump.conntrack_line(dump.parse(line, 5.0), 5.0) == line
    for line in extended.splitlines():
        assert dump.conntrack_line(dump.parse(line, 5.0), 5.0, extended=True) == line
    lines = len(proc.splitlines())
    assert lines == len(plain.splitlines()) == len(extended.splitlines()) == 11
    # Either dump tells the same connections.
    one = {(entry.original, entry.reply, entry.zones) for entry in dump.read(proc.splitlines(), 5.0)}
    other = {(entry.original, entry.reply, entry.zones) for entry in dump.read(plain.splitlines(), 5.0)}
    assert one == other
    assert len(one) == lines


def test_sysctls_and_their_defaults_are_the_kernels(netns: Netns) -> None:
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    if release < (6, 17):
        pytest.skip("the defaults are those of Linux 6.18")
    out = run(netns, "cd /proc/sys/net/netfilter; grep . nf_conntrack_*")
    kernel = dict(line.split(":") for line in out.splitlines())
    kernel.pop("nf_conntrack_count")
    ours = {row.name: str(row.default) for row in SYSCTLS}
    assert kernel.keys() == ours.keys()
    assert {name: value for name, value in kernel.items() if name not in LOCAL} == {
        name: value for name, value in ours.items() if name not in LOCAL
    }
