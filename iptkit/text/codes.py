"""The codes of everything iptkit finds in a ruleset, and their names.

One place for them, since the binder, the interpreter and the lint checks all
report under them.  What each means is told by its check (`iptkit rule CODE`).
"""

from __future__ import annotations

_TABLE = """
IPT000 unused-ignore I safe
IPT001 bom E safe
IPT002 crlf E/W safe
IPT003 no-final-newline E/W safe
IPT004 missing-commit E unsafe
IPT005 stray-commit E safe
IPT006 commit-line E safe
IPT007 rule-outside-table E none
IPT008 bad-table E none
IPT009 leading-space E/W safe
IPT010 blank-with-spaces E safe
IPT011 trailing-comment E/W safe
IPT012 single-quotes E/W safe
IPT013 unterminated-quote E/W none
IPT014 bad-quoting E none
IPT015 unicode-dash-or-quote E/W unsafe
IPT016 shell-line E/W unsafe
IPT017 line-continuation E safe
IPT018 table-option E unsafe
IPT019 command-in-table W/E unsafe
IPT020 bad-command E/W none
IPT021 line-too-long E none
IPT022 bad-character E/W unsafe
IPT023 duplicate-table W none
IPT024 duplicate-chain E/W unsafe
IPT025 bad-policy E none
IPT026 policy-on-user-chain E safe
IPT027 bad-counter E/W safe
IPT028 noflush-append W none
IPT029 family-prefix I none
IPT030 empty-ruleset W none
IPT101 undefined-chain E none
IPT102 chain-loop E/W none
IPT103 jump-to-builtin E none
IPT104 goto-target E safe
IPT105 jump-depth E none
IPT106 chain-name E none
IPT107 chain-hides-target E/W unsafe
IPT110 target-wrong-table E none
IPT111 target-wrong-hook E none
IPT112 match-wrong-hook E none
IPT113 interface-direction E/W none
IPT114 drop-in-nat E none
IPT115 target-not-in-nft E unsafe
IPT120 port-without-proto E unsafe
IPT121 tcpmss-without-syn E safe
IPT122 multiport-over-15 E safe
IPT123 bad-ctstate E none
IPT124 wrong-family E none
IPT125 bad-address E none
IPT126 bad-port E none
IPT127 reversed-range E/W safe
IPT128 bad-rate E none
IPT129 bad-value E none
IPT130 unknown-option E none
IPT131 unknown-match E none
IPT132 missing-argument E none
IPT133 missing-option E none
IPT134 option-order E safe
IPT135 repeated-option E none
IPT136 exclusive-option E none
IPT137 old-negation E safe
IPT138 negated-list E none
IPT139 interface-too-long E none
IPT140 glued-option E/W safe
IPT141 needs-object I none
IPT201 unreachable-rule W unsafe
IPT202 shadowed-rule W none
IPT203 redundant-rule W unsafe
IPT204 duplicate-rule W safe
IPT205 impossible-match W/E none
IPT206 unreferenced-chain W unsafe
IPT207 empty-chain I unsafe
IPT208 useless-return I safe
IPT209 host-bits-set W safe
IPT210 glob-interface W unsafe
IPT211 interface-alias W unsafe
IPT212 log-prefix-cut W none
IPT213 comment-cut W none
IPT214 log-after-verdict W unsafe
IPT215 goto-non-terminal W unsafe
IPT216 ctstate-in-raw W none
IPT217 nat-policy-drop W unsafe
IPT218 hostname W/E none
IPT219 octal-number W none
IPT220 no-target I none
IPT221 no-op-match I safe
IPT222 negated-drop-pair W none
IPT223 related-only W none
IPT224 undeclared-policy W none
IPT301 input-policy-accept W none
IPT302 forward-policy-accept W none
IPT303 no-loopback-accept W unsafe
IPT304 no-established-accept W unsafe
IPT305 any-any-accept W none
IPT306 admin-port-open W none
IPT307 datastore-port-open W none
IPT308 source-port-trust W none
IPT309 new-without-syn I unsafe
IPT310 reject-invalid W safe
IPT311 icmp-all-dropped W none
IPT312 icmpv6-essential-blocked W none
IPT313 log-unlimited W unsafe
IPT314 masquerade-unscoped W none
IPT315 loopback-spoof-accept W unsafe
IPT316 amplifier-port-open W none
IPT317 icmp-redirect-accept W unsafe
IPT318 wide-port-range W none
IPT319 dnat-unscoped W none
IPT401 established-late I unsafe
IPT402 use-ipset I none
IPT403 merge-ports I unsafe
IPT404 aggregate-cidrs I unsafe
IPT405 payload-match-wide I none
IPT406 long-chain I none
IPT501 state-match I safe
IPT502 ulog E unsafe
IPT503 clusterip E none
IPT504 notrack-target I safe
IPT505 source-quench I unsafe
IPT601 non-canonical I safe
IPT602 counters-in-vcs I safe
IPT603 tab-separator I safe
"""

# code -> (name, severities it may have as letters E W I, how safe its fix is)
CODES: dict[str, tuple[str, str, str]] = {
    code: (name, severities, fix)
    for code, name, severities, fix in map(str.split, _TABLE.strip().split("\n"))
}
BY_NAME = {name: code for code, (name, _, _) in CODES.items()}


def name_of(code: str) -> str:
    """The name of a code: `undefined-chain` for IPT101.  Raises KeyError for a code there is not."""
    return CODES[code][0]
