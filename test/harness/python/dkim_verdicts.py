"""Judges each DKIM signature of a message by itself, with dkimpy. JSON in, JSON out."""

import base64
import json
import sys

import dkim

from records import lookup_in


def verdict(message, index, lookup):
    judge = dkim.DKIM(message)
    header = [value for name, value in judge.headers if name.lower() == b"dkim-signature"][index]
    tags = {name.decode(): value.decode() for name, value in dkim.util.parse_tag_value(header).items()}
    result = {"domain": tags.get("d"), "selector": tags.get("s"), "algorithm": tags.get("a"), "headers": tags.get("h")}

    def txt(name, timeout=5):
        strings = [b"".join(rdata.strings) for rdata in lookup(name, "TXT")]
        return strings[0] if strings else None

    try:
        verified = judge.verify(idx=index, dnsfunc=txt)
        return {**result, "verified": verified, "problem": None if verified else "signature does not fit"}
    except dkim.DKIMException as error:
        return {**result, "verified": False, "problem": str(error)}


def main():
    asked = json.load(sys.stdin)
    message = base64.b64decode(asked["message"])
    lookup = lookup_in(asked["records"])
    count = sum(1 for name, _ in dkim.rfc822_parse(message)[0] if name.lower() == b"dkim-signature")
    json.dump([verdict(message, index, lookup) for index in range(count)], sys.stdout)


main()
