"""Evaluates SPF (RFC 7208) with pyspf. JSON in, JSON out."""

import json
import sys

import spf

from records import lookup_in

VALUES = {
    "A": lambda rdata: rdata.address,
    "AAAA": lambda rdata: rdata.address,
    "MX": lambda rdata: (rdata.preference, rdata.exchange.to_text(True)),
    "PTR": lambda rdata: rdata.target.to_text(True),
    "TXT": lambda rdata: rdata.strings,
}


def main():
    asked = json.load(sys.stdin)
    lookup = lookup_in(asked["records"])
    spf.DNSLookup = lambda name, kind, *_: [
        ((name, kind), VALUES[kind](rdata)) for rdata in (lookup(name, kind) if kind in VALUES else [])
    ]
    result, explanation = spf.check2(i=asked["address"], s=asked["sender"], h=asked["helo"])
    json.dump({"result": result, "explanation": explanation}, sys.stdout)


main()
