"""Sends a message with smtplib, knowing the relay from the files of a credential Secret alone. JSON in, JSON out."""

import base64
import json
import pathlib
import smtplib
import ssl
import sys


def main():
    asked = json.load(sys.stdin)
    secret = pathlib.Path(asked["credential"])

    def key(name):
        return (secret / name).read_text()

    context = ssl.create_default_context(cafile=asked["ca"])
    where = {"host": key("host"), "port": int(key("port")), "timeout": 60}
    try:
        if key("tls") == "implicit":
            client = smtplib.SMTP_SSL(**where, context=context)
        else:
            client = smtplib.SMTP(**where)
            client.starttls(context=context)
    except ssl.SSLCertVerificationError as error:
        return {"refused": error.verify_message}
    with client:
        client.login(key("username"), key("password"))
        client.sendmail(asked["from"], asked["to"], base64.b64decode(asked["content"]), asked["options"])
    return {"sent": True}


json.dump(main(), sys.stdout)
