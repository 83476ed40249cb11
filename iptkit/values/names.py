"""Names of protocols and services, and their numbers.

The tables are packaged, so that a file reads the same on every machine. They hold what Debian's netbase
6.4 has in /etc/protocols and /etc/services, which the real tools ask through the C library.
"""

from __future__ import annotations

from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT8_MAX, parse_uint
from iptkit.values.wording import did_you_mean, quote

# NAME[/ALIAS...]=NUMBER, in the order of /etc/protocols. mptcp is the kernel's own: no header carries it.
_PROTOCOLS = """
ip/IP=0 hopopt/HOPOPT=0 icmp/ICMP=1 igmp/IGMP=2 ggp/GGP=3 ipencap/IP-ENCAP=4 st/ST=5 tcp/TCP=6 egp/EGP=8
igp/IGP=9 pup/PUP=12 udp/UDP=17 hmp/HMP=20 xns-idp/XNS-IDP=22 rdp/RDP=27 iso-tp4/ISO-TP4=29 dccp/DCCP=33
xtp/XTP=36 ddp/DDP=37 idpr-cmtp/IDPR-CMTP=38 ipv6/IPv6=41 ipv6-route/IPv6-Route=43 ipv6-frag/IPv6-Frag=44
idrp/IDRP=45 rsvp/RSVP=46 gre/GRE=47 esp/IPSEC-ESP=50 ah/IPSEC-AH=51 skip/SKIP=57 ipv6-icmp/IPv6-ICMP=58
ipv6-nonxt/IPv6-NoNxt=59 ipv6-opts/IPv6-Opts=60 rspf/RSPF/CPHB=73 vmtp/VMTP=81 eigrp/EIGRP=88
ospf/OSPFIGP=89 ax.25/AX.25=93 ipip/IPIP=94 etherip/ETHERIP=97 encap/ENCAP=98 pim/PIM=103 ipcomp/IPCOMP=108
vrrp/VRRP=112 l2tp/L2TP=115 isis/ISIS=124 sctp/SCTP=132 fc/FC=133 mobility-header/Mobility-Header=135
udplite/UDPLite=136 mpls-in-ip/MPLS-in-IP=137 manet=138 hip/HIP=139 shim6/Shim6=140 wesp/WESP=141
rohc/ROHC=142 ethernet/Ethernet=143 mptcp/MPTCP=262
"""

# libxtables' own names; it asks /etc/protocols only for what is not here.
_BUILTIN = (
    "tcp=6 sctp=132 udp=17 udplite=136 icmp=1 icmpv6=58 ipv6-icmp=58 esp=50 ah=51 ipv6-mh=135 mh=135 all=0"
)

# NAME[/ALIAS...]=PORT then the protocols, by letter (_LETTERS), in the order of /etc/services.
_SERVICES = """
tcpmux=1t echo=7tu discard/sink/null=9tu systat/users=11t daytime=13tu netstat=15t qotd/quote=17t
chargen/ttytst/source=19tu ftp-data=20t ftp=21t fsp/fspd=21u ssh=22t telnet=23t smtp/mail=25t
time/timserver=37tu whois/nicname=43t tacacs=49tu domain=53tu bootps=67u bootpc=68u tftp=69u gopher=70t
finger=79t http/www=80t kerberos/kerberos5/krb5/kerberos-sec=88tu iso-tsap/tsap=102t acr-nema/dicom=104t
pop3/pop-3=110t sunrpc/portmapper=111tu auth/authentication/tap/ident=113t nntp/readnews/untp=119t ntp=123u
epmap/loc-srv=135t netbios-ns=137u netbios-dgm=138u netbios-ssn=139t imap2/imap=143t snmp=161tu
snmp-trap/snmptrap=162tu cmip-man=163tu cmip-agent=164tu mailq=174t xdmcp=177u bgp=179t smux=199t qmtp=209t
z3950/wais=210t ipx=213u ptp-event=319u ptp-general=320u pawserv=345t zserv=346t rpc2portmap=369tu
codaauth2=370tu clearcase/Clearcase=371u ldap=389tu svrloc=427tu https=443tu snpp=444t microsoft-ds=445t
kpasswd=464tu submissions/ssmtp/smtps/urd=465t saft=487t isakmp=500u rtsp=554tu nqs=607t asf-rmcp=623u
qmqp=628t ipp=631t ldp=646tu exec=512t biff/comsat=512u login=513t who/whod=513u shell/cmd/syslog=514t
syslog=514u printer/spooler=515t talk=517u ntalk=518u route/router/routed=520u gdomap=538tu uucp/uucpd=540t
klogin=543t kshell/krcmd=544t dhcpv6-client=546u dhcpv6-server=547u afpovertcp=548t nntps/snntp=563t
submission=587t ldaps=636tu tinc=655tu silc=706t kerberos-adm=749t domain-s=853tu rsync=873t ftps-data=989t
ftps=990t telnets=992t imaps=993t pop3s=995t socks=1080t proofd=1093t rootd=1094t openvpn=1194tu
rmiregistry=1099t lotusnote/lotusnotes=1352t ms-sql-s=1433t ms-sql-m=1434u ingreslock=1524t
datametrics/old-radius=1645tu sa-msg-port/old-radacct=1646tu kermit=1649t groupwise=1677t l2f/l2tp=1701u
radius=1812tu radius-acct/radacct=1813tu cisco-sccp=2000t nfs=2049tu gnunet=2086tu rtcm-sc104=2101tu
gsigatekeeper=2119t gris=2135t cvspserver=2401t venus=2430tu venus-se=2431tu codasrv=2432tu
codasrv-se=2433tu mon=2583tu dict=2628t f5-globalsite=2792t gsiftp=2811t gpsd=2947t gds-db/gds_db=3050t
icpv2/icp=3130u isns=3205tu iscsi-target=3260t mysql=3306t ms-wbt-server=3389t nut=3493tu distcc=3632t
daap=3689t svn/subversion=3690t suucp=4031t sysrqd=4094t sieve=4190t epmd=4369t remctl=4373t f5-iquery=4353t
ntske=4460t ipsec-nat-t=4500u iax=4569u mtn=4691t radmin-port=4899t sip=5060tu sip-tls=5061tu
xmpp-client/jabber-client=5222t xmpp-server/jabber-server=5269t cfengine=5308t mdns=5353u
postgresql/postgres=5432t freeciv/rptp=5556t amqps=5671t amqp=5672ts x11/x11-0=6000t x11-1=6001t x11-2=6002t
x11-3=6003t x11-4=6004t x11-5=6005t x11-6=6006t x11-7=6007t gnutella-svc=6346tu gnutella-rtr=6347tu
redis=6379t sge-qmaster/sge_qmaster=6444t sge-execd/sge_execd=6445t mysql-proxy=6446t babel=6696u
ircs-u=6697t bbs=7000t afs3-fileserver=7000u afs3-callback=7001u afs3-prserver=7002u afs3-vlserver=7003u
afs3-kaserver=7004u afs3-volser=7005u afs3-bos=7007u afs3-update=7008u afs3-rmtsys=7009u
font-service/xfs=7100t http-alt/webcache=8080t puppet=8140t bacula-dir=9101t bacula-fd=9102t bacula-sd=9103t
xmms2=9667t nbd=10809t zabbix-agent=10050t zabbix-trapper=10051t amanda=10080t dicom=11112t hkp=11371t
db-lsp=17500t dcap=22125t gsidcap=22128t wnn6=22273t rtmp=1a nbp=2a echo=4a zip=6a
kerberos4/kerberos-iv/kdc=750ut kerberos-master/kerberos_master=751u kerberos-master=751t
passwd-server/passwd_server=752u krb-prop/krb_prop/krb5_prop/hprop=754t zephyr-srv=2102u zephyr-clt=2103u
zephyr-hm=2104u iprop=2121t supfilesrv=871t supfiledbg=1127t poppassd=106t moira-db/moira_db=775t
moira-update/moira_update=777t moira-ureg/moira_ureg=779u spamd=783t skkserv=1178t predict=1210u
rmtcfg=1236t xtel=1313t xtelw=1314t zebrasrv=2600t zebra=2601t ripd=2602t ripngd=2603t ospfd=2604t
bgpd=2605t ospf6d=2606t ospfapi=2607t isisd=2608t fax=4557t hylafax=4559t munin/lrrd=4949t rplay=5555u
nrpe=5666t nsca=5667t canna=5680t syslog-tls=6514t sane-port/sane/saned=6566t ircd=6667t zope-ftp=8021t
tproxy=8081t omniorb=8088t clc-build-daemon=8990t xinetd=9098t git=9418t zope=9673t webmin=10000t
kamanda=10081t amandaidx=10082t amidxtape=10083t sgi-cmsd=17001u sgi-crsd=17002u sgi-gcd=17003u
sgi-cad=17004t binkp=24554t asp=27374tu csync2=30865t dircproxy=57000t tfido=60177t fido=60179t
"""
_LETTERS = {"t": "tcp", "u": "udp", "s": "sctp", "a": "ddp"}

# The order in which the C library's getaddrinfo goes through the protocols of a service.
_RESOLVE_ORDER = ("tcp", "udp", "dccp", "udplite", "sctp")

_number: dict[str, int] = {}
_name: dict[int, str] = {0: "all"}
_canonical: dict[str, str] = {}
for _entry in _PROTOCOLS.split():
    _words, _, _digits = _entry.partition("=")
    for _word in _words.split("/"):
        _number.setdefault(_word, int(_digits))
        _canonical.setdefault(_word.lower(), _words.partition("/")[0])
    _name.setdefault(int(_digits), _words.partition("/")[0])
for _entry in _BUILTIN.split():
    _word, _, _digits = _entry.partition("=")
    _number[_word] = int(_digits)

_services: dict[str | None, dict[str, int]] = {}


def parse_protocol(text: str) -> int:
    """Return the number of a protocol given by name or number, case kept, as libxtables reads it.

    This is what options other than `-p` take (`--proto` of `-m policy`): aliases such as ``IPSEC-ESP``
    are known in their own spelling only. Numbers go from 0 to 255, ``0x`` and octal too; by name also
    ``mptcp``, 262. Raises ValueError for anything else.
    """
    number = _number.get(text)
    if number is not None:
        return number
    try:
        return parse_uint(text, 0, UINT8_MAX)
    except ValueError:
        pass
    lowered = text.lower()
    if lowered in _canonical:
        hint = f'did you mean "{_canonical[lowered]}"?'
    else:
        hint = did_you_mean(text, [name for name in _number if name.islower()])
    raise BadValue(f"must be a protocol name or a number from 0 to 255, not {quote(text)}", hint=hint)


def protocol_number(text: str) -> int:
    """Return the number of a protocol as `-p` reads it: `parse_protocol` of the lower-cased word.

    Hence ``TCP`` is taken, and an alias with a capital in it (``IPSEC-ESP``) never. 0 means all.
    Raises ValueError for an unknown name.
    """
    return parse_protocol(text.lower())


def protocol_name(number: int) -> str:
    """Return what iptables-save prints for a protocol: its first name, or the number in decimal.

    The save leaves out `-p` for 0, here ``all``.
    """
    return _name.get(number) or str(number)


def _load_services() -> None:
    by_any: dict[str, int] = {}
    tables: dict[str | None, dict[str, int]] = {None: by_any}
    for protocol in _LETTERS.values():
        tables[protocol] = {}
    for entry in _SERVICES.split():
        words, _, number = entry.partition("=")
        digits = number.rstrip("tusa")
        port = int(digits)
        for word in words.split("/"):
            by_any.setdefault(word, port)
            for letter in number[len(digits) :]:
                tables[_LETTERS[letter]].setdefault(word, port)
    _services.update(tables)


def service_port(name: str, protocol: str | None) -> int:
    """Return the port of a service of `protocol` ("tcp", "udp", "sctp"...), as getservbyname does.

    With None the first entry of any protocol counts. Case matters. Raises ValueError when the
    protocol has no such service.
    """
    if not _services:
        _load_services()
    port = _services.get(protocol, {}).get(name)
    if port is not None:
        return port
    raise _no_service(name, protocol)


def resolved_service_port(name: str) -> int:
    """Return the port of a service whatever its protocol, as getaddrinfo does (`-m udp`, `-m dccp`).

    tcp is asked first, then udp and sctp. Raises ValueError when none has the service.
    """
    if not _services:
        _load_services()
    for protocol in _RESOLVE_ORDER:
        port = _services.get(protocol, {}).get(name)
        if port is not None:
            return port
    raise _no_service(name, None)


def _no_service(name: str, protocol: str | None) -> BadValue:
    kind = f"{protocol} service" if protocol else "service"
    message = f"must be a port from 0 to 65535 or the name of a {kind}, not {quote(name)}"
    for other in ("tcp", "udp", "sctp"):
        if other != protocol and name in _services[other]:
            return BadValue(message, hint=f"only {other} has that name, for port {_services[other][name]}")
    return BadValue(message, hint=did_you_mean(name, _services.get(protocol, ())))
