#!/usr/bin/env python3
"""Verifies copies of snapshots in a bucket, and gets them out, without cowlog: by docs/offsite-format.md alone.

  tools/verify_offsite.py PLACE [HOST/SOURCE [SNAPSHOT]] [--identity FILE] [--extract DIR] [--expect ROOT]

PLACE is a directory (a place, or a copy of one) or s3://BUCKET/PREFIX; credentials from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, the region from AWS_REGION, another server from COWLOG_ENDPOINT or AWS_ENDPOINT_URL. Needs the packages `blake3` and
`zstandard`, and for encrypted places the program `age` or `rage`.

Exit code: 0 all is well, 4 something is damaged, 1 it could not be told, 2 wrong usage.
"""

import argparse
import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as xml
from pathlib import Path

import zstandard
from blake3 import blake3

CHUNK = 1 << 20
WINDOW = 1 << 23
MAX_MANIFEST = 1 << 30
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\Z")
SNAPSHOT = re.compile(r"snapshot-(0|[1-9][0-9]*)\Z")
LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)\Z", re.DOTALL)


class Damaged(Exception):
    """What is there is not what was written."""


class Missing(Exception):
    """There is no such object."""


class Refused(Exception):
    """It cannot be told."""


class Directory:
    def __init__(self, root):
        self.root = Path(root)
        if not self.root.is_dir():
            raise Refused(f"there is no directory {root}")

    def open(self, key):
        try:
            return open(self.root / key, "rb")
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(key) from None

    def keys(self, below):
        base = self.root / below
        return sorted(str(p.relative_to(self.root)) for p in base.rglob("*") if p.is_file())


class S3:
    """GET and LIST, signed by version 4 of AWS's signature."""

    def __init__(self, bucket, prefix):
        env = os.environ
        self.region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = env.get("COWLOG_ENDPOINT") or env.get("AWS_ENDPOINT_URL")
        endpoint = endpoint or f"https://s3.{self.region}.amazonaws.com"
        self.base = f"{endpoint.rstrip('/')}/{bucket}"
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        try:
            self.id, self.secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        except KeyError as e:
            raise Refused(f"{e.args[0]} is not set") from None
        self.token = env.get("AWS_SESSION_TOKEN")

    def get(self, path, query=()):
        url = urllib.parse.urlsplit(self.base + urllib.parse.quote(path, safe="/-_.~"))
        plain = {"safe": "-_.~"}
        query = "&".join(f"{urllib.parse.quote(k, **plain)}={urllib.parse.quote(v, **plain)}" for k, v in sorted(query))
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        nothing = hashlib.sha256(b"").hexdigest()
        headers = {"host": url.netloc, "x-amz-content-sha256": nothing, "x-amz-date": now}
        if self.token:
            headers["x-amz-security-token"] = self.token
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join(["GET", url.path, query, lines, names, nothing])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        signed = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{self.secret}".encode()
        for part in [*scope.split("/"), signed]:
            key = hmac.new(key, part.encode(), "sha256").digest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        )
        full = urllib.parse.urlunsplit((url.scheme, url.netloc, url.path, query, ""))
        try:
            return urllib.request.urlopen(urllib.request.Request(full, headers=headers), timeout=60)
        except urllib.error.HTTPError as e:
            if e.code == 404:
                raise Missing(path) from None
            raise Refused(f"{full}: {e.code} {e.reason}") from None

    def open(self, key):
        # To a file, for what reads it may be another program.
        body = tempfile.TemporaryFile()
        with self.get(f"/{self.prefix}{key}") as answer:
            shutil.copyfileobj(answer, body, CHUNK)
            expected = answer.headers["Content-Length"]
        if expected is not None and int(expected) != body.tell():
            raise Refused(f"{key}: the answer broke off")
        body.seek(0)
        return body

    def keys(self, below):
        found, more = [], []
        while True:
            query = [("list-type", "2"), ("prefix", f"{self.prefix}{below}/"), *more]
            page = xml.parse(self.get("", query)).getroot()
            space = page.tag.partition("}")[0] + "}" if "}" in page.tag else ""
            found += [e.text[len(self.prefix) :] for e in page.iter(f"{space}Key")]
            token = page.findtext(f"{space}NextContinuationToken")
            if page.findtext(f"{space}IsTruncated") != "true":
                return sorted(found)
            more = [("continuation-token", token)]


class Place:
    def __init__(self, store, identity):
        self.store, self.identity, self.seen = store, identity, {}
        try:
            config = json.loads(self.read("config.json"))
        except Missing:
            raise Refused("there is no config.json: nothing was pushed there") from None
        except ValueError as e:
            raise Damaged(f"config.json: {e}") from None
        if not isinstance(config, dict):
            raise Damaged("config.json: it is no object")
        if config.get("format") != "cowlog-offsite" or config.get("version") != 1:
            raise Refused("config.json is of a format or version that this reader does not know")
        self.key, encryption = None, config.get("encryption")
        if encryption is not None:
            if not isinstance(encryption, dict) or not isinstance(encryption.get("id_key"), str):
                raise Damaged("config.json: it does not say how this place is encrypted")
            if encryption.get("scheme") != "age":
                raise Refused("encrypted in a way that this reader does not know")
            self.age = shutil.which("age") or shutil.which("rage")
            if not self.age or not identity:
                raise Refused("this place is encrypted: --identity FILE and the program `age` are needed")
            with tempfile.TemporaryFile() as sealed:
                sealed.write(encryption["id_key"].encode())
                sealed.seek(0)
                try:
                    with self.opened(sealed) as key:
                        self.key = key.read()
                except Damaged as e:
                    raise Refused(f"the identity does not open this place: {e}") from None
            if len(self.key) != 32:
                raise Damaged("config.json: the id key is not of 32 bytes")

    @contextlib.contextmanager
    def opened(self, sealed):
        """What `age` makes of it. That it was right is known at the end only."""
        with tempfile.TemporaryFile() as errors:
            command = [self.age, "--decrypt", "--identity", self.identity]
            with subprocess.Popen(command, stdin=sealed, stdout=subprocess.PIPE, stderr=errors) as age:
                yield age.stdout
                rest = age.stdout.read(1)
                age.stdout.close()
                # Whoever stopped before the end had enough of it.
                if age.wait() and not rest:
                    errors.seek(0)
                    told = errors.read().decode(errors="replace").strip().splitlines()
                    raise Damaged(f"it cannot be decrypted: {told[0] if told else age.returncode}")

    def read(self, key, sealed=False):
        with self.store.open(key) as file, self.opened(file) if sealed else contextlib.nullcontext(file) as data:
            out = data.read(MAX_MANIFEST + 1)
        if len(out) > MAX_MANIFEST:
            raise Damaged("it is larger than any manifest")
        return out

    def snapshots(self, source, snapshot):
        """Those that are published, as (host/source, snapshot)."""
        found = []
        for key in self.store.keys("snapshots"):
            parts = key.split("/")
            if len(parts) != 5 or parts[4] != "manifest.b3" or not SNAPSHOT.match(parts[3]):
                continue
            of = f"{parts[1]}/{parts[2]}"
            if NAME.match(parts[1]) and NAME.match(parts[2]) and source in (None, of) and snapshot in (None, parts[3]):
                found.append((of, parts[3]))
        return sorted(found, key=lambda f: (f[0], int(f[1].partition("-")[2])))

    def hint(self, key, name):
        """The body of an object in the sealed form; nothing where that is lost or does not hold."""
        with contextlib.suppress(Missing, Damaged, ValueError):
            data = self.read(f"{key}/{name}", self.key is not None)
            head, end = b'{"checksum":"%s","body":', b"}\n"
            body = data[len(head) - 2 + 64 : -len(end)]
            if data == head % blake3(body).hexdigest().encode() + body + end:
                return json.loads(body)
        return {}

    def manifests(self, key):
        """The root, and (path, size, digest, attributes) of every file, once all that can be checked of them holds."""
        texts = {}
        for name in ("manifest.b3", "manifest.json"):
            try:
                texts[name] = self.read(f"{key}/{name}", self.key is not None)
            except Missing:
                raise Damaged(f"{name}: it is not there") from None
            except Damaged as e:
                raise Damaged(f"{name}: {e}") from None
        digests = parse_digests(texts["manifest.b3"])
        root, record = blake3(texts["manifest.b3"]).hexdigest(), self.hint(key, "record.json").get("record", {})
        if record.get("id") == key.rpartition("/")[2] and record.get("root") != root:
            raise Damaged("manifest.b3: it does not have the digest that record.json states")
        if digests.pop("manifest.json", None) != blake3(texts["manifest.json"]).hexdigest():
            raise Damaged("manifest.json: it does not have the digest that manifest.b3 states")
        try:
            manifest = json.loads(texts["manifest.json"])
            if manifest["version"] != 1 or manifest["requires"]:
                raise Refused("manifest.json: of a version that this reader does not know")
            files = [(f["path"], f["size"], digests.get(f["path"]), f) for f in manifest["files"]]
            dirs = manifest["dirs"]
            same = all(isinstance(d["path"], str) for d in dirs) and manifest["id"] == key.rpartition("/")[2] and [f[0] for f in files] == list(digests)
        except (ValueError, KeyError, TypeError) as e:
            raise Damaged(f"manifest.json: it makes no sense: {e!r}") from None
        for path in [f[0] for f in files] + [d["path"] for d in dirs if d["path"]]:
            if path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
                raise Damaged(f"manifest.json: {path!r} leads elsewhere")
        if not same:
            raise Damaged("manifest.json: it does not name the same snapshot and files as its key and manifest.b3")
        return root, files, dirs, texts

    def fetch(self, size, digest, name, write):
        """Gives `write` the bytes of a file. They are right if this returns."""
        id = blake3(bytes.fromhex(digest), key=self.key).hexdigest() if self.key else digest
        end = ".age" if self.key else ""
        names = [name] if name else []
        names += [n for n in (f"{id}.zst{end}", f"{id}{end}") if n not in names]
        wrong = None
        for name in names:
            try:
                return self.fetch_blob(f"blobs/{id[:2]}/{name}", size, digest, write)
            except Missing:
                continue
            except Damaged as e:
                wrong = f"{e}; its blob is blobs/{id[:2]}/{name}"
        raise Damaged(wrong or f"its blob blobs/{id[:2]}/{names[0]} is not there")

    def fetch_blob(self, key, size, digest, write):
        with contextlib.ExitStack() as layers:
            data = layers.enter_context(self.store.open(key))
            if key.endswith(".age"):
                data = layers.enter_context(self.opened(data))
            if ".zst" in key:
                packed = zstandard.ZstdDecompressor(max_window_size=WINDOW)
                data = layers.enter_context(packed.stream_reader(data, read_across_frames=True, closefd=False))
            hasher, length = blake3(), 0
            write(None)
            try:
                while length <= size and (chunk := data.read(CHUNK)):
                    hasher.update(chunk)
                    length += len(chunk)
                    write(chunk)
            except zstandard.ZstdError as e:
                raise Damaged(f"it cannot be decompressed: {e}") from None
        if length != size:
            raise Damaged(f"it has {'more than ' if length > size else ''}{min(length, size)} bytes, {size} are stated")
        if hasher.hexdigest() != digest:
            raise Damaged("its bytes are not those that the manifest states")

    def verify(self, of, snapshot, expect, extract):
        """What is wrong, as (path, what); and what is to be told."""
        key = f"snapshots/{of}/{snapshot}"
        try:
            root, files, dirs, texts = self.manifests(key)
        except Damaged as e:
            return [tuple(str(e).split(": ", 1))], ""
        wrong = []
        if expect not in (None, root):
            wrong.append(("manifest.b3", f"its digest is {root}, expected was {expect}"))
        names = {name[:64]: name for name in self.hint(key, "blobs.json").get("blobs", {})}
        if self.key:
            ids = {digest: blake3(bytes.fromhex(digest), key=self.key).hexdigest() for _, _, digest, _ in files}
        else:
            ids = {digest: digest for _, _, digest, _ in files}
        if extract:
            extract.mkdir()
            for made in dirs:
                (extract / made["path"]).mkdir(exist_ok=True)
        for path, size, digest, _ in files:
            target = open(extract / path, "xb") if extract else contextlib.nullcontext()
            # What two snapshots share is read once.
            if not extract and (size, digest) in self.seen:
                found = self.seen[size, digest]
            else:
                found = None
                with target as file:
                    try:
                        self.fetch(size, digest, names.get(ids[digest]), lambda c, f=file: put(f, c))
                    except Damaged as e:
                        found = str(e)
                if found and extract:
                    (extract / path).unlink()
                self.seen[size, digest] = found
            if found:
                wrong.append((path, found))
        if extract:
            for name, text in texts.items():
                (extract / name).write_bytes(text)
            lost = {path for path, _ in wrong}
            for made, path in [(f[3], f[0]) for f in files if f[0] not in lost] + [(d, d["path"]) for d in reversed(dirs)]:
                os.chmod(extract / path, made["mode"])
                os.utime(extract / path, ns=(made["mtime"], made["mtime"]))
        return wrong, f"{len(files)} files, {sum(f[1] for f in files)} bytes, root {root}"


def put(file, chunk):
    if file is None:
        return
    if chunk is None:
        file.seek(0)
        file.truncate()
    else:
        file.write(chunk)


def parse_digests(data):
    """Digests by path, in order, of a `manifest.b3` that is as it has to be in every byte."""
    def bad(number, why):
        raise Damaged(f"manifest.b3: line {number}: {why}")

    digests, last = {}, None
    *lines, end = data.split(b"\n")
    if end:
        bad(len(lines) + 1, "it has no end")
    for number, line in enumerate(lines, 1):
        try:
            match = LINE.match(line.decode())
        except UnicodeDecodeError:
            bad(number, "not UTF-8")
        if not match:
            bad(number, "not a digest and a path")
        escaped, digest, path = match.groups()
        if escaped:
            if re.search(r"\\(?![n\\])", path.replace("\\\\", "")):
                bad(number, "an unknown escape")
            path = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], path)
        if bool(escaped) != ("\n" in path or "\\" in path):
            bad(number, "escaped without need, or not escaped")
        parts = path.split("/")
        if len(parts) > 2 or "\0" in path or any(part in ("", ".", "..") for part in parts):
            bad(number, "not a clean relative path")
        if last is not None and last >= path.encode():
            bad(number, "out of order, or a path named twice")
        last, digests[path] = path.encode(), digest
    return digests


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("place", metavar="PLACE", help="a directory, or s3://BUCKET/PREFIX")
    parser.add_argument("source", metavar="HOST/SOURCE", nargs="?", help="default: every source")
    parser.add_argument("snapshot", metavar="SNAPSHOT", nargs="?", help="`latest`, or an id; default: every one")
    parser.add_argument("--identity", metavar="FILE", default=os.environ.get("COWLOG_IDENTITY"),
                        help="the age identity file of an encrypted place")
    parser.add_argument("--extract", metavar="DIR", type=Path, help="get that snapshot out, into a new directory, but for files that are wrong")
    parser.add_argument("--expect", metavar="ROOT", help="the root that it has to have")
    args = parser.parse_args()
    if (args.extract or args.expect) and not args.snapshot:
        parser.error("--extract and --expect are for one snapshot")
    if args.place.startswith("s3://"):
        bucket, _, prefix = args.place[5:].partition("/")
        store = S3(bucket, prefix)
    else:
        store = Directory(args.place)
    place = Place(store, args.identity)
    chosen = place.snapshots(args.source, None if args.snapshot == "latest" else args.snapshot)
    if args.snapshot == "latest":
        chosen = chosen[-1:]
    if not chosen:
        raise Refused("no such snapshot is there")
    damaged = False
    for of, snapshot in chosen:
        wrong, told = place.verify(of, snapshot, args.expect, args.extract)
        damaged = damaged or bool(wrong)
        print(f"{of}/{snapshot}  {'DAMAGED' if wrong else 'ok'}{'  ' if told else ''}{told}")
        for path, what in wrong:
            print(f"  {path}  {what}")
        if wrong and args.extract and args.extract.is_dir():
            print(f"  {args.extract} has what is right of it")
    return 4 if damaged else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Damaged as e:
        print(f"verify_offsite: {e}", file=sys.stderr)
        sys.exit(4)
    except (Refused, OSError, http.client.HTTPException) as e:
        print(f"verify_offsite: {e}", file=sys.stderr)
        sys.exit(1)
