"""A second implementation of how a restic repository seals its files, to forge what no program
writes: a newer version, a foreign lock, a path that climbs out. Slow, and for tests only."""
import base64
import hashlib
import json
import os
import subprocess


def _openssl(cipher, key, data, iv=None):
    argv = ["openssl", "enc", f"-{cipher}", "-nopad", "-K", key.hex()]
    if iv is not None:
        argv += ["-iv", iv.hex()]
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


def _tag(mac_key, nonce, data):
    """Poly1305-AES: r is clamped, s is the nonce under AES-128 with k."""
    k, r = mac_key
    r = int.from_bytes(r, "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(_openssl("aes-128-ecb", k, nonce), "little")
    total = 0
    for at in range(0, len(data), 16):
        total = (total + int.from_bytes(data[at:at + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + s) % 2**128).to_bytes(16, "little")


def _seal(keys, data):
    encrypt, mac = keys
    nonce = os.urandom(16)
    text = _openssl("aes-256-ctr", encrypt, data, nonce)
    return nonce + text + _tag(mac, nonce, text)


def _unseal(keys, sealed):
    encrypt, mac = keys
    nonce, text, tag = sealed[:16], sealed[16:-16], sealed[-16:]
    if _tag(mac, nonce, text) != tag:
        raise ValueError("the tag does not fit")
    return _openssl("aes-256-ctr", encrypt, text, nonce)


class Repository:
    """An existing repository, opened by its passphrase."""

    def __init__(self, path, passphrase):
        self.path = path
        for file in sorted((path / "keys").iterdir()):
            key = json.loads(file.read_bytes())
            raw = hashlib.scrypt(passphrase.encode(), salt=base64.b64decode(key["salt"]),
                                 n=key["N"], r=key["r"], p=key["p"], dklen=64,
                                 maxmem=256 << 20)
            keys = raw[:32], (raw[32:48], raw[48:64])
            try:
                master = json.loads(_unseal(keys, base64.b64decode(key["data"])))
            except ValueError:
                continue
            self.keys = (base64.b64decode(master["encrypt"]),
                         (base64.b64decode(master["mac"]["k"]),
                          base64.b64decode(master["mac"]["r"])))
            return
        raise ValueError("no key opens with this passphrase")

    def seal(self, data):
        return _seal(self.keys, data)

    def config(self):
        return json.loads(_unseal(self.keys, (self.path / "config").read_bytes()))

    def write_config(self, fields):
        file = self.path / "config"
        file.chmod(0o600)
        file.write_bytes(self.seal(json.dumps(fields).encode()))

    def add(self, folder, fields):
        """A file of JSON in locks/, snapshots/ or index/; its id."""
        sealed = self.seal(json.dumps(fields).encode())
        name = hashlib.sha256(sealed).hexdigest()
        (self.path / folder / name).write_bytes(sealed)
        return name

    def add_tree_snapshot(self, nodes):
        """A snapshot of one tree with these nodes, with a pack and an index of its own; its id."""
        text = json.dumps({"nodes": nodes}).encode() + b"\n"
        blob = self.seal(text)
        tree = hashlib.sha256(text)
        entry = b"\1" + len(blob).to_bytes(4, "little") + tree.digest()  # 1: tree, as it is
        header = self.seal(entry)
        pack = blob + header + len(header).to_bytes(4, "little")
        name = hashlib.sha256(pack).hexdigest()
        (self.path / "data" / name[:2]).mkdir(exist_ok=True)
        (self.path / "data" / name[:2] / name).write_bytes(pack)
        self.add("index", {"packs": [{"id": name, "blobs": [
            {"id": tree.hexdigest(), "type": "tree", "offset": 0, "length": len(blob)}]}]})
        return self.add("snapshots", {"time": "2026-01-01T00:00:00Z", "tree": tree.hexdigest(),
                                      "paths": ["/x"], "hostname": "here", "username": "me"})
