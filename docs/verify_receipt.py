#!/usr/bin/env python3
"""Verifies a receipt of an erasure without Hansa: Python 3.9 or newer and PyNaCl (`pip install pynacl`) are enough.

    python3 verify_receipt.py RECEIPT.json --keys SERVER.json
    python3 verify_receipt.py RECEIPT.json --key example.org/ed25519:a_1=BASE64

SERVER.json is what https://example.org/_matrix/key/v2/server answers; with `--key` you give the key yourself. It checks
that

1. it is a receipt of an erasure, whose digest of the user id is right, and whose times follow each other,
2. each place beside the database has answered: "done", or how much of it was written anew,
3. the server that it names signed it, with the key that you gave, which wasn't over at the time.

It prints what was erased and what is wrong; exit 0 if nothing is. What it can't know is what the server didn't do:
a receipt is the server's word, by which you can hold it.
"""

import argparse
import base64
import binascii
import hashlib
import json
import pathlib
import sys

import nacl.exceptions
import nacl.signing


def canonical(value):
    """The bytes that are signed. spec: appendices/#canonical-json"""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.encode("utf-8")


def decoded(text):
    """Unpadded base64. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def keys_of(document, server):
    """Key id → (key, until when it counts) of an answer of /_matrix/key/v2/server."""
    if document.get("server_name") != server:
        return {}
    until = document.get("valid_until_ts", 0)
    found = {name: (one["key"], None) for name, one in document.get("verify_keys", {}).items()}
    old = {
        name: (one["key"], one.get("expired_ts", until)) for name, one in document.get("old_verify_keys", {}).items()
    }
    return {**old, **found}


def problems_of(receipt):
    """What a receipt says that can't be."""
    if receipt.get("type") != "hansa.erasure" or receipt.get("version") != 1:
        yield "this is no receipt of an erasure that this script knows"
        return
    if hashlib.sha256(str(receipt.get("user_id")).encode()).hexdigest() != receipt.get("user_id_sha256"):
        yield "user_id_sha256 isn't the digest of user_id"
    times = [receipt.get(name) for name in ("asked_ts", "begun_ts", "done_ts")]
    if not all(isinstance(one, int) for one in times) or times != sorted(times):
        yield "asked_ts, begun_ts and done_ts don't follow each other"
    counts = receipt.get("counts")
    if not isinstance(counts, dict) or not isinstance(counts.get("places"), dict) or not counts["places"]:
        yield "it doesn't say what the places beside the database answered"
        return
    for place, answer in sorted(counts["places"].items()):
        if answer != "done" and not (isinstance(answer, int) and answer >= 0):
            yield f"{place} answered {answer!r}"


def check_signature(receipt, keys):
    """What is wrong with the signature, or None."""
    server = str(receipt.get("server_name"))
    signed = {key: value for key, value in receipt.items() if key not in ("signatures", "unsigned")}
    signatures = receipt.get("signatures", {}).get(server, {})
    known = [name for name in signatures if name in keys]
    if not known:
        return f"no key is known of {server} that signed it: it has {', '.join(sorted(signatures)) or 'no signature'}"
    for name in known:
        key, until = keys[name]
        if until is not None and receipt.get("done_ts", 0) > until:
            return f"the key {name} was over when it was signed"
        try:
            nacl.signing.VerifyKey(decoded(key)).verify(canonical(signed), decoded(signatures[name]))
        except (nacl.exceptions.CryptoError, ValueError, TypeError, binascii.Error):
            return f"the signature of {name} is wrong"
    return None


def told(receipt):
    """What was erased, a line each."""
    counts = receipt["counts"]
    rows = sum(counts.get("rows", {}).values())
    yield f"{receipt['user_id']} of {receipt['server_name']}, erased at {receipt['done_ts']} (ms since 1970)"
    yield f"{counts.get('events', 0)} events, {counts.get('media', 0)} files, {rows} rows of other tables"
    yield "places: " + ", ".join(f"{place} {answer}" for place, answer in sorted(counts["places"].items()))


def main():
    parser = argparse.ArgumentParser(description="Verifies a receipt of an erasure.")
    parser.add_argument("receipt", type=pathlib.Path)
    parser.add_argument("--keys", type=pathlib.Path, help="what /_matrix/key/v2/server answers")
    parser.add_argument("--key", action="append", default=[], help="SERVER/KEY_ID=BASE64")
    given = parser.parse_args()
    try:
        receipt = json.loads(given.receipt.read_bytes())
        server = receipt["server_name"]
        keys = keys_of(json.loads(given.keys.read_bytes()), server) if given.keys else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"WRONG: {error}")
        return 1
    for one in given.key:
        name, _, key = one.partition("=")
        of, _, key_id = name.partition("/")
        if of == server:
            keys[key_id] = key, None
    problems = list(problems_of(receipt))
    if (problem := check_signature(receipt, keys)) is not None:
        problems.append(problem)
    for problem in problems:
        print(f"WRONG: {problem}")
    if not problems:
        print("\n".join([*told(receipt), "verified"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
