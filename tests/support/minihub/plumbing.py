"""HTTP below the Hub's own protocol: bodies, answers, faults, users."""

import json
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from support.minihub.store import HubError


class Plumbing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "minihub"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the client to confirm its headers
    hub = None  # set by MiniHub

    def log_message(self, *a):
        pass

    def handle_any(self):
        hub, u = self.hub, urlsplit(self.path)
        self.query, self.rawpath = parse_qs(u.query, keep_blank_values=True), u.path
        self.body_left = int(self.headers.get("Content-Length") or 0)
        self.chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "")
        line = f"{self.command} {u.path}" + (f"?{u.query}" if u.query else "")
        entry = {
            "line": line,
            "status": None,
            "token": (self.headers.get("Authorization") or "")[:40],
            "t": time.time(),
            "ua": self.headers.get("User-Agent", ""),
            "range": self.headers.get("Range"),
            "in": self.body_left,
        }
        hub.faults.log.append(entry)
        self.entry, self.fault = entry, hub.faults.take(line)
        f = self.fault
        if f:
            entry["fault"] = f["do"]
            if "call" in f:
                f["call"]()
            if f["do"] == "sleep":
                time.sleep(f["s"])
            elif f["do"] == "drop_before":
                return self.reset()
            elif f["do"] == "drop_upload":
                self.rfile.read(min(f["bytes"], self.body_left))
                return self.reset()
            elif f["do"] == "status":
                self.drain()
                return self.send(f["code"], f.get("body", {"error": "injected"}), f.get("headers", {}))
            elif f["do"] == "redirect":
                self.drain()
                return self.send(307, b"", {"Location": f["url"] + line.split(" ", 1)[1]})
        try:
            self.route(unquote)
        except HubError as e:
            self.drain()
            h = {"X-Error-Message": e.message}
            if e.code:
                h["X-Error-Code"] = e.code
            self.send(e.status, {"error": e.message}, h)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

    def reset(self):
        self.entry["status"] = "reset"
        self.close_connection = True
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self.connection.close()
        raise ConnectionResetError

    def iter_body(self, size=1 << 20):
        if self.chunked:
            while True:
                n = int(self.rfile.readline().split(b";")[0] or b"0", 16)
                data = self.rfile.read(n)
                self.rfile.readline()
                if not n:
                    break
                yield data
            self.chunked = False
        while self.body_left > 0:
            data = self.rfile.read(min(size, self.body_left))
            if not data:
                raise ConnectionResetError
            self.body_left -= len(data)
            yield data

    def body(self):
        return b"".join(self.iter_body())

    def drain(self):
        for _ in self.iter_body():
            pass

    def send(self, status, payload=b"", headers=None, ctype="application/json; charset=utf-8"):
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        f = self.fault
        if f and f["do"] == "drop_after":
            return self.reset()
        if f and f["do"] == "corrupt" and payload:
            at = f.get("at", len(payload) - 1) % len(payload)
            payload = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        if f and f["do"] == "answer":
            payload = f["body"]
            headers = {k: v for k, v in (headers or {}).items() if k not in ("Content-Length", "Link")}
        self.entry.update(status=status, out=len(payload))
        self.send_response(status)
        headers = dict(headers or {})
        headers.setdefault("Content-Length", str(len(payload)))
        if payload:
            headers.setdefault("Content-Type", ctype)
        for k, v in headers.items():
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD" and payload:
            if f and f["do"] == "truncate":
                self.wfile.write(payload[: f["bytes"]])
                self.wfile.flush()
                return self.reset()
            if f and f["do"] in ("hang", "drip"):
                return self.dawdle(f, payload)
            self.wfile.write(payload)

    def dawdle(self, fault, payload):
        """An answer that never comes to its end, or byte by byte."""
        go_on = self.hub.faults.go_on
        first = fault.get("bytes", 1)
        parts = [payload[:first]] if fault["do"] == "hang" else [bytes([byte]) for byte in payload]
        try:
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()
                if go_on.wait(fault.get("s", 60)):
                    break
        except OSError:
            pass
        self.close_connection = True

    def user(self, need=True):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        name = self.hub.tokens.get(token)
        if token and name is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        if need and name is None:
            raise HubError(401, "Invalid username or password.")
        return name

    def repo(self, rtype, rid, write=False):
        user = self.user(need=write)
        repo = self.hub.store.get(rtype, rid)
        if repo["private"] and user is None:
            raise HubError(404, "Repository not found", "RepoNotFound")
        if write and user != repo["id"].split("/")[0] and user not in self.hub.admins:
            raise HubError(403, "You don't have the rights to write to this repo")
        return repo
