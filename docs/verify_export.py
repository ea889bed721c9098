#!/usr/bin/env python3
"""Verifies an export of Hansa without Hansa: Python 3.9 or newer and PyNaCl (`pip install pynacl`) are all it needs.

    python3 verify_export.py FOLDER [--key example.org/ed25519:a_1=BASE64 ...]

It checks that

1. every file has the size and the SHA-256 that the manifest says,
2. the lines of events.jsonl have the manifest's count and Merkle root (RFC 6962, SHA-256),
3. this server's key signed the manifest,
4. each event has the id that its content gives, in its room version,
5. what it says is what its content hash was made of, or nothing but the skeleton that a redaction leaves,
6. its sender's server signed it.

Keys stand in the manifest. Those that you give with `--key` count instead of them: get them from somebody you trust,
for example from https://example.org/_matrix/key/v2/server. Without, you believe the exporter for the keys.

It prints a summary and what is wrong; exit 0 if nothing is. The rules are those of https://spec.matrix.org.
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

TOP_LEVEL = set(
    "event_id type room_id sender state_key content hashes signatures depth prev_events prev_state auth_events "
    "origin origin_server_ts membership".split()
)
POWER = {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
EVERYTHING = object()


def version_number(version):
    """The room version as a number. Raises ValueError for one that isn't known here."""
    # Versions on trial differ from those that they are named after in who may set which state, and in nothing else.
    number = int(version.removeprefix("org.matrix.msc3757."))
    if not 1 <= number <= 12:
        raise ValueError(f"room version {version} is not known to this script")
    return number


def kept_content(number, event_type):
    """Which keys of an event's content a redaction keeps."""
    table = {
        "m.room.member": {"membership"},
        "m.room.create": {"creator"},
        "m.room.join_rules": {"join_rule"},
        "m.room.power_levels": set(POWER),
        "m.room.history_visibility": {"history_visibility"},
    }
    if number <= 5:
        table["m.room.aliases"] = {"aliases"}
    if number >= 8:
        table["m.room.join_rules"] = {"join_rule", "allow"}
    if number >= 9:
        table["m.room.member"] = {"membership", "join_authorised_via_users_server"}
    if number >= 11:
        table["m.room.create"] = EVERYTHING
        table["m.room.redaction"] = {"redacts"}
        table["m.room.power_levels"] = POWER | {"invite"}
    return table.get(event_type, set())


def redacted(number, pdu):
    """What a redaction leaves of an event."""
    top = TOP_LEVEL - {"prev_state", "origin", "membership"} if number >= 11 else TOP_LEVEL
    left = {key: value for key, value in pdu.items() if key in top}
    content = pdu.get("content")
    content = content if isinstance(content, dict) else {}
    keys = kept_content(number, pdu.get("type"))
    if keys is EVERYTHING:
        left["content"] = dict(content)
    else:
        left["content"] = {key: content[key] for key in content if key in keys}
        invite = content.get("third_party_invite")
        if number >= 11 and pdu.get("type") == "m.room.member" and isinstance(invite, dict):
            left["content"]["third_party_invite"] = {"signed": invite["signed"]} if "signed" in invite else {}
    return left


def canonical(value):
    """Canonical JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode("utf-8")


def encode(data, altchars=None):
    return base64.b64encode(data, altchars).rstrip(b"=").decode("ascii")


def decode(text):
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def without(value, *keys):
    return {key: item for key, item in value.items() if key not in keys}


def signed_form(number, pdu):
    """The bytes that an event's signatures are over."""
    return canonical(without(redacted(number, pdu), "signatures", "unsigned"))


def event_id(number, pdu):
    """The id of an event, as its room version makes it."""
    if number <= 2:
        return pdu["event_id"]
    digest = hashlib.sha256(signed_form(number, pdu)).digest()
    return "$" + (encode(digest) if number == 3 else encode(digest, b"-_"))


def is_whole(pdu):
    """Whether an event says what its content hash was made of."""
    hashed = hashlib.sha256(canonical(without(pdu, "hashes", "signatures", "unsigned"))).digest()
    hashes = pdu.get("hashes")
    return isinstance(hashes, dict) and hashes.get("sha256") == encode(hashed)


def is_signed(message, signatures, keys):
    """Whether one of a server's keys signed these bytes."""
    if not isinstance(signatures, dict):
        return False
    for key_id, signature in signatures.items():
        if key_id not in keys or not isinstance(signature, str):
            continue
        try:
            nacl.signing.VerifyKey(keys[key_id]).verify(message, decode(signature))
            return True
        except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError, binascii.Error, ValueError):
            continue
    return False


class Tree:
    """A Merkle tree as RFC 6962 has it, of which only the full subtrees are kept."""

    def __init__(self):
        self.full = []
        self.size = 0

    def add(self, leaf):
        node, size = hashlib.sha256(b"\x00" + leaf).digest(), 1
        while self.full and self.full[-1][0] == size:
            node, size = hashlib.sha256(b"\x01" + self.full.pop()[1] + node).digest(), size * 2
        self.full.append((size, node))
        self.size += 1

    def root(self):
        if not self.full:
            return hashlib.sha256(b"").digest()
        node = self.full[-1][1]
        for _, left in reversed(self.full[:-1]):
            node = hashlib.sha256(b"\x01" + left + node).digest()
        return node


class Verifier:
    def __init__(self, folder, given):
        self.folder = folder
        self.problems = []
        self.counts = {"events": 0, "whole": 0, "skeletons": 0, "keys_missing": 0}
        self.manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        self.keys = {
            server: {key_id: decode(one["verify_key"]) for key_id, one in keys.items()}
            for server, keys in self.manifest["keys"].items()
        }
        for server, keys in given.items():
            self.keys[server] = keys

    def wrong(self, text):
        self.problems.append(text)

    def verify(self):
        self.files()
        self.signature()
        self.lines()

    def files(self):
        for name, said in self.manifest["files"].items():
            path = self.folder / name
            if not path.resolve().is_relative_to(self.folder.resolve()) or not path.is_file():
                self.wrong(f"{name} is missing")
                continue
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while True:
                    piece = file.read(1 << 20)
                    if not piece:
                        break
                    digest.update(piece)
            if digest.hexdigest() != said["sha256"] or path.stat().st_size != said["bytes"]:
                self.wrong(f"{name} was changed")

    def signature(self):
        server = self.manifest["server_name"]
        message = canonical(without(self.manifest, "signatures", "unsigned"))
        signatures = self.manifest.get("signatures", {}).get(server)
        if not is_signed(message, signatures, self.keys.get(server, {})):
            self.wrong(f"{server} did not sign this manifest")

    def lines(self):
        tree = Tree()
        with (self.folder / "events.jsonl").open("rb") as file:
            for number, line in enumerate(file, 1):
                line = line[:-1] if line.endswith(b"\n") else line
                tree.add(line)
                try:
                    self.event(json.loads(line))
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    self.wrong(f"line {number} is no event: {error}")
        if tree.size != self.manifest["events"]:
            self.wrong(f"there are {tree.size} events, the manifest says {self.manifest['events']}")
        if tree.root().hex() != self.manifest["merkle_root"]:
            self.wrong(f"the Merkle root is {tree.root().hex()}, the manifest says {self.manifest['merkle_root']}")

    def event(self, record):
        self.counts["events"] += 1
        number, pdu, name = version_number(record["room_version"]), record["pdu"], record["event_id"]
        if event_id(number, pdu) != name:
            self.wrong(f"{name} has another id than what it says gives")
            return
        if is_whole(pdu):
            self.counts["whole"] += 1
        elif redacted(number, pdu) == without(pdu, "unsigned"):
            self.counts["skeletons"] += 1
        else:
            self.wrong(f"{name} says something else than was signed")
        server = pdu["sender"].split(":", 1)[1]
        keys = self.keys.get(server, {})
        signatures = pdu.get("signatures", {}).get(server)
        if not isinstance(signatures, dict) or not set(signatures) & set(keys):
            self.counts["keys_missing"] += 1
            self.wrong(f"{name} can't be checked: no key of {server}")
        elif not is_signed(signed_form(number, pdu), signatures, keys):
            self.wrong(f"{name} was not signed by {server}")


def given_keys(values):
    keys = {}
    for value in values:
        name, _, key = value.partition("=")
        server, _, key_id = name.partition("/")
        keys.setdefault(server, {})[key_id] = decode(key)
    return keys


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Verifies an export of Hansa.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--key", action="append", default=[], help="SERVER/KEY_ID=BASE64: a key that you trust")
    chosen = parser.parse_args(arguments)
    verifier = Verifier(chosen.folder, given_keys(chosen.key))
    verifier.verify()
    manifest, counts = verifier.manifest, verifier.counts
    print("{} {}, taken out of {}".format(manifest["kind"], manifest["target"], manifest["server_name"]))
    print(f"{counts['events']} events: {counts['whole']} whole, {counts['skeletons']} skeletons of redacted ones")
    print("Merkle root {}".format(manifest["merkle_root"]))
    for problem in verifier.problems[:100]:
        print(f"WRONG: {problem}")
    print(f"{len(verifier.problems)} problems" if verifier.problems else "all verified")
    return 1 if verifier.problems else 0


if __name__ == "__main__":
    sys.exit(main())
