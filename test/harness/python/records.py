"""DNS for the checkers: the records of one zone text, or one name server on loopback. No other server is ever asked."""

import ipaddress

import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.zonefile


def lookup_in(source):
    """A function (name, type) -> list of rdata, for {"zone": text} or {"server": "ADDRESS:PORT"}."""
    return _zone_lookup(source["zone"]) if "zone" in source else _server_lookup(source["server"])


def _zone_lookup(text):
    # A zone file of `chasqui dns` has absolute names of several zones, so it is read record by record.
    rrsets = dns.zonefile.read_rrsets(text, name=None, ttl=None, rdclass=None, rdtype=None, default_ttl=None)
    by_key = {(rrset.name, rrset.rdtype): list(rrset) for rrset in rrsets}
    return lambda name, kind: by_key.get((dns.name.from_text(_text(name)), dns.rdatatype.from_text(kind)), [])


def _server_lookup(server):
    host, port = server.rsplit(":", 1)
    if not ipaddress.ip_address(host.strip("[]")).is_loopback:
        raise ValueError(f"{server} is not on loopback")

    def lookup(name, kind):
        query = dns.message.make_query(_text(name), kind)
        answer, _ = dns.query.udp_with_fallback(query, host.strip("[]"), port=int(port), timeout=5)
        return [rdata for rrset in answer.answer if rrset.rdtype == dns.rdatatype.from_text(kind) for rdata in rrset]

    return lookup


def _text(name):
    return name.decode("ascii") if isinstance(name, bytes) else str(name)
