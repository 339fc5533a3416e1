"""A hub on this machine: the part of the protocol that `huggingface_hub` speaks when it reads, fetches and commits."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_ID = r"(?P<id>[^/]+(?:/[^/]+)?)"
ROUTES = [
    ("GET", re.compile(r"/api/models"), "search"),
    ("GET", re.compile(rf"/api/models/{_ID}/revision/(?P<rev>.+)"), "info"),
    ("GET", re.compile(rf"/api/models/{_ID}/tree/(?P<rev>[^/]+)"), "tree"),
    ("GET", re.compile(rf"/api/models/{_ID}"), "info"),
    ("GET", re.compile(rf"/{_ID}/resolve/(?P<rev>[^/]+)/(?P<file>.+)"), "resolve"),
    ("POST", re.compile(r"/api/repos/create"), "create"),
    ("POST", re.compile(r"/api/validate-yaml"), "validate"),
    ("POST", re.compile(rf"/api/models/{_ID}/preupload/(?P<rev>[^/]+)"), "preupload"),
    ("POST", re.compile(rf"/{_ID}\.git/info/lfs/objects/batch"), "batch"),
    ("PUT", re.compile(r"/lfs/(?P<oid>\w+)"), "put"),
    ("POST", re.compile(rf"/api/models/{_ID}/commit/(?P<rev>[^/]+)"), "commit"),
]


def lfs(file: str) -> bool:
    return file.endswith(".safetensors")


@dataclass
class Hub:
    address: str = ""
    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)  # oldest first
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # "METHOD path", and the range where there was one
    cut: dict[str, int] = field(default_factory=dict)  # file -> bytes after which the connection breaks, once
    broken: set[str] = field(default_factory=set)  # files that answer 500
    damaged: set[str] = field(default_factory=set)  # files whose bytes arrive changed

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        before = self.commits.setdefault(name, [])
        sha = hashlib.sha256(f"{name}{len(before)}".encode()).hexdigest()[:40]
        before.append((sha, files))
        return sha

    def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = self.commits[name]
        if revision == "main":
            return found[-1] if found else (hashlib.sha256(name.encode()).hexdigest()[:40], {})
        return next((each for each in found if each[0] == revision), None)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one(self, method: str) -> None:
            self.url = urlsplit(self.path)
            path = unquote(self.url.path)
            hub.asked.append(" ".join(filter(None, [self.command, path, self.headers.get("Range")])))
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            for verb, pattern, name in ROUTES:
                if verb == method and (match := pattern.fullmatch(path)):
                    where = match.groupdict()
                    if "id" in where and where["id"] not in hub.commits:
                        return self.answer({"error": "no"}, 404, {"X-Error-Code": "RepoNotFound"})
                    if "rev" in where and hub.at(where["id"], where["rev"]) is None:
                        return self.answer({"error": "no"}, 404, {"X-Error-Code": "RevisionNotFound"})
                    return getattr(self, f"on_{name}")(**where)
            return self.answer({"error": f"no route {path}"}, 404)

        def do_GET(self) -> None:
            self.handle_one("GET")

        do_HEAD = do_GET  # noqa: N815 (as the server calls it)

        def do_POST(self) -> None:
            self.handle_one("POST")

        def do_PUT(self) -> None:
            self.handle_one("PUT")

        def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)

        def on_search(self) -> None:
            word = parse_qs(self.url.query).get("search", [""])[0]
            self.answer([{"id": name, "sha": c[-1][0]} for name, c in hub.commits.items() if c and word in name])

        def on_info(self, id: str, rev: str = "main") -> None:
            sha, files = hub.at(id, rev)
            parts = [{"rfilename": file, **self._facts(raw, file)} for file, raw in files.items()]
            self.answer({"id": id, "sha": sha, "siblings": parts, "private": False})

        def on_tree(self, id: str, rev: str) -> None:
            _, files = hub.at(id, rev)
            self.answer([{"type": "file", "path": f, "oid": "0" * 40, **self._facts(r, f)} for f, r in files.items()])

        def _facts(self, raw: bytes, file: str) -> dict[str, Any]:
            held = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw), "pointerSize": 130}
            held["oid"] = held["sha256"]
            return {"size": len(raw), "blobId": "0" * 40, **({"lfs": held} if lfs(file) else {})}

        def on_resolve(self, id: str, rev: str, file: str) -> None:
            sha, files = hub.at(id, rev)
            if file not in files:
                return self.answer(b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            if file in hub.broken:
                return self.answer(b"", 500)
            raw = files[file]
            headers = {"ETag": f'"{hashlib.sha256(raw).hexdigest()}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
            if file in hub.damaged:
                raw = bytes([raw[0] ^ 1]) + raw[1:]
            if self.command == "GET" and (limit := hub.cut.pop(file, None)) is not None:
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(raw))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(raw[:limit])
                self.close_connection = True
                return None
            if given := self.headers.get("Range"):
                begin = int(given.removeprefix("bytes=").rstrip("-"))
                headers["Content-Range"] = f"bytes {begin}-{len(raw) - 1}/{len(raw)}"
                return self.answer(raw[begin:], 206, headers)
            return self.answer(raw, 200, headers)

        def on_create(self) -> None:
            asked = json.loads(self.body)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            if name in hub.commits:
                return self.answer({"error": "exists", "url": f"{hub.address}/{name}"}, 409)
            hub.commits[name] = []
            return self.answer({"url": f"{hub.address}/{name}", "name": name})

        def on_validate(self) -> None:
            self.answer({"errors": [], "warnings": []})

        def on_preupload(self, id: str, rev: str) -> None:
            parts = json.loads(self.body)["files"]
            self.answer(
                {
                    "files": [
                        {
                            "path": p["path"],
                            "uploadMode": "lfs" if lfs(p["path"]) else "regular",
                            "shouldIgnore": False,
                        }
                        for p in parts
                    ]
                }
            )

        def on_batch(self, id: str) -> None:
            objects = json.loads(self.body)["objects"]
            self.answer(
                {
                    "transfer": "basic",
                    "objects": [
                        {**o, "actions": {"upload": {"href": f"{hub.address}/lfs/{o['oid']}"}}} for o in objects
                    ],
                }
            )

        def on_put(self, oid: str) -> None:
            assert hashlib.sha256(self.body).hexdigest() == oid
            hub.objects[oid] = self.body
            self.answer(b"")

        def on_commit(self, id: str, rev: str) -> None:
            _, files = hub.at(id, rev)
            files = dict(files)
            for line in filter(None, self.body.split(b"\n")):
                each = json.loads(line)
                value = each["value"]
                if each["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif each["key"] == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
                elif each["key"] == "deletedFile":
                    del files[value["path"]]
            sha = hub.commit(id, files)
            self.answer({"commitUrl": f"{hub.address}/{id}/commit/{sha}", "commitOid": sha, "commitMessage": ""})

    return Handler


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
