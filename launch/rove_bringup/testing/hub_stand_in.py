# SPDX-License-Identifier: Apache-2.0
"""A small Hub on this computer: as much of its published API as huggingface_hub needs to create, commit to and read a
repository (https://huggingface.co/docs/hub/api, Git LFS batch API for large files). It keeps everything in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"
LARGE = (".parquet", ".mp4", ".safetensors")  # go through LFS, as .gitattributes of the Hub says
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "other"}
REPO = r"(?P<type>datasets/|models/|)(?P<name>[\w.-]+/[\w.-]+)"


def blob_id(data: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """repos: {(type, name): {path: content}}; commits: {(type, name): [commit id]}; asked: every request's line."""

    def __init__(self):
        self.repos: dict[tuple[str, str], dict[str, bytes]] = {}
        self.commits: dict[tuple[str, str], list[str]] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut: set[str] = set()  # paths of which only the half is delivered
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args):
                pass

            def do_POST(self):
                hub.answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            do_PUT = do_HEAD = do_GET = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # ---- answers

    def answer(self, request, body: bytes) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(f"{request.command} {path}")
        if path.startswith("/lfs/"):
            oid = path.removeprefix("/lfs/")
            if hashlib.sha256(body).hexdigest() != oid:
                return self.say(request, 400, {"error": "the content is not that of its name"})
            self.large[oid] = body
            return self.say(request, 200, {})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say(request, 401, {"error": "Invalid credentials in Authorization header"})
        given = json.loads(body) if body and "ndjson" not in request.headers.get("Content-Type", "") else {}
        if path == "/api/validate-yaml":
            return self.validate(request, given["content"])
        if path == "/api/repos/create":
            return self.create(request, given)
        for pattern, method in (
            (rf"/api/{REPO}(/revision/[^/]+)?", self.tell),
            (rf"/api/{REPO}/tree/(?P<revision>[^/]+)", self.list),
            (rf"/api/{REPO}/preupload/main", self.preupload),
            (rf"/{REPO}\.git/info/lfs/objects/batch", self.batch),
            (rf"/api/{REPO}/commit/main", self.commit),
            (rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self.deliver),
        ):
            if found := re.fullmatch(pattern, path):
                key = (found["type"].rstrip("/") or "models", found["name"])
                if key not in self.repos:
                    return self.say(request, 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
                return method(request, key, given if given else body, found.groupdict())
        return self.say(request, 501, {"error": f"the stand-in does not know {request.command} {path}"})

    def say(self, request, status: int, values: object, headers: dict | None = None) -> None:
        self.send(request, status, json.dumps(values).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, request, status: int, data: bytes, headers: dict) -> None:
        request.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)

    def validate(self, request, text: str) -> None:
        license_id = re.search(r"^license: (\S+)$", text, re.MULTILINE)
        if license_id is None or license_id[1] not in LICENSES:
            return self.say(request, 400, {"errors": [{"message": '"license" must be one of …'}], "warnings": []})
        return self.say(request, 200, {"errors": [], "warnings": []})

    def create(self, request, given: dict) -> None:
        if given["organization"] == "strangers":
            return self.say(request, 403, {"error": "You don't have the rights to create a repo there"})
        name = f"{given['organization']}/{given['name']}"
        key = (f"{given.get('type', 'model')}s", name)
        answer = {"url": f"{self.address}/{name}", "id": name, "name": name}
        if key in self.repos:
            return self.say(request, 409, answer | {"error": "You already created this repo"})
        self.repos[key], self.commits[key] = {}, [hashlib.sha1(name.encode()).hexdigest()]
        return self.say(request, 200, answer)

    def tell(self, request, key, _given, _found) -> None:
        siblings = [{"rfilename": path} for path in sorted(self.repos[key])]
        self.say(request, 200, {"id": key[1], "sha": self.commits[key][-1], "siblings": siblings, "private": True})

    def list(self, request, key, _given, _found) -> None:
        entries = []
        for path, data in sorted(self.repos[key].items()):
            entry = {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self.say(request, 200, entries)

    def preupload(self, request, key, given, _found) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in given["files"]
        ]
        self.say(request, 200, {"files": files})

    def batch(self, request, _key, given, _found) -> None:
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.address}/lfs/{entry['oid']}"}}}
            for entry in given["objects"]
        ]
        self.say(request, 200, {"transfer": "basic", "objects": objects})

    def commit(self, request, key, body, _found) -> None:
        files = dict(self.repos[key])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        self.repos[key] = files
        self.commits[key].append(hashlib.sha1(body + str(len(self.commits[key])).encode()).hexdigest())
        address = f"{self.address}/{key[0]}/{key[1]}/commit/{self.commits[key][-1]}"
        self.say(request, 200, {"success": True, "commitUrl": address, "commitOid": self.commits[key][-1]})

    def deliver(self, request, key, _given, found) -> None:
        data = self.repos[key].get(found["path"])
        if data is None or found["revision"] not in ("main", *self.commits[key]):
            return self.say(request, 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        large = found["path"].endswith(LARGE)
        etag = hashlib.sha256(data).hexdigest() if large else blob_id(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.commits[key][-1]}
        data = data[: len(data) // 2] if found["path"] in self.cut else data
        return self.send(request, 200, data, headers)
