"""Repository information, trees, commits, and the files themselves."""

import hashlib
import json
import os
import re
from urllib.parse import parse_qs, quote

import yaml

from support.minihub.store import HubError


class Listing:
    def entry_json(self, path, e, expand=None):
        d = {"type": "file", "path": path, "size": e["size"], "oid": e["oid"]}
        if "lfs" in e:
            d["lfs"] = {"oid": e["lfs"], "size": e["size"], "pointerSize": e["psize"]}
        if expand:
            d["lastCommit"] = {"id": expand["id"], "title": expand["title"], "date": expand["date"]}
        return d

    def api_any_info(self, rtype, rid, rest, rev="main"):
        repo = self.repo(rtype, rid)
        oid = self.hub.store.resolve(repo, rev)
        c = repo["commits"][oid]
        card = {}
        if "README.md" in c["tree"]:
            m = re.match(r"^---\s*\n(.*?)\n---", self.read(c["tree"]["README.md"]).decode("utf8", "replace"), re.S)
            try:
                card = yaml.safe_load(m[1]) if m else {}
            except yaml.YAMLError:
                card = {}
        self.send(
            200,
            {
                "_id": repo["id"],
                "id": repo["id"],
                "author": repo["id"].split("/")[0],
                "sha": oid,
                "lastModified": c["date"],
                "createdAt": repo["created"],
                "private": repo["private"],
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "cardData": card,
                "siblings": [
                    {
                        "rfilename": k,
                        "size": e["size"],
                        "blobId": e["oid"],
                        **(
                            {"lfs": {"sha256": e["lfs"], "size": e["size"], "pointerSize": e["psize"]}}
                            if "lfs" in e
                            else {}
                        ),
                    }
                    for k, e in sorted(c["tree"].items())
                ],
            },
        )

    def api_any_revision(self, rtype, rid, rest):
        self.api_any_info(rtype, rid, [], "/".join(rest))

    def api_any_tree(self, rtype, rid, rest):
        repo = self.repo(rtype, rid)
        oid = self.hub.store.resolve(repo, rest[0])
        c, prefix = repo["commits"][oid], "/".join(rest[1:]).strip("/")

        def flag(k):
            return (self.query.get(k) or ["false"])[0].lower() in ("true", "1")

        out = self.list_tree(c, prefix, flag("recursive"), flag("expand"))
        if not out and prefix:
            raise HubError(404, f"{prefix} does not exist on revision", "EntryNotFound")
        limit = int((self.query.get("limit") or [50 if flag("expand") else 1000])[0])
        start = int((self.query.get("cursor") or [0])[0])
        h = {}
        if start + limit < len(out):
            q = "&".join(f"{k}={quote(v[0])}" for k, v in self.query.items() if k != "cursor")
            h["Link"] = f'<{self.hub.url}{self.rawpath}?{q}&cursor={start + limit}>; rel="next"'
        self.send(200, out[start : start + limit], h)

    def list_tree(self, c, prefix, recursive, expand):
        dirs, out, pre = {}, [], prefix + "/" if prefix else ""
        for path, e in sorted(c["tree"].items()):
            if not path.startswith(pre):
                continue
            parts = path[len(pre) :].split("/")
            for i in range(1, len(parts) if recursive else min(2, len(parts))):
                dirs.setdefault(pre + "/".join(parts[:i]), True)
            if recursive or len(parts) == 1:
                out.append(self.entry_json(path, e, c if expand else None))
        d = [
            {
                "type": "directory",
                "path": k,
                "size": 0,
                "oid": hashlib.sha1(k.encode()).hexdigest(),
                **({"lastCommit": {"id": c["id"], "title": c["title"], "date": c["date"]}} if expand else {}),
            }
            for k in dirs
        ]
        return sorted(d + out, key=lambda x: x["path"])

    def api_any_paths_info(self, rtype, rid, rest):
        repo = self.repo(rtype, rid)
        raw = self.body()
        if "json" in (self.headers.get("Content-Type") or ""):
            d = json.loads(raw)
            paths, expand = d["paths"], d.get("expand")
        else:
            d = parse_qs(raw.decode())
            paths, expand = d.get("paths", []), d.get("expand", ["False"])[0].lower() == "true"
        c = repo["commits"][self.hub.store.resolve(repo, "/".join(rest))]
        out = []
        for p in paths:
            p = p.strip("/")
            if p in c["tree"]:
                out.append(self.entry_json(p, c["tree"][p], c if expand else None))
            elif any(k.startswith(p + "/") for k in c["tree"]):
                out.append(
                    {
                        "type": "directory",
                        "path": p,
                        "size": 0,
                        "oid": hashlib.sha1(p.encode()).hexdigest(),
                        **({"lastCommit": {"id": c["id"], "title": c["title"], "date": c["date"]}} if expand else {}),
                    }
                )
        self.send(200, out)

    def api_any_refs(self, rtype, rid, rest):
        refs = self.repo(rtype, rid)["refs"]

        def pick(pre):
            return [{"name": k[len(pre) :], "ref": k, "targetCommit": v} for k, v in refs.items() if k.startswith(pre)]

        self.send(
            200,
            {
                "branches": pick("refs/heads/"),
                "tags": pick("refs/tags/"),
                "converts": [],
                **({"pullRequests": pick("refs/pr/")} if "include_prs" in self.query else {}),
            },
        )

    def api_any_commits(self, rtype, rid, rest):
        repo = self.repo(rtype, rid)
        oid, out = self.hub.store.resolve(repo, "/".join(rest)), []
        while oid:
            c = repo["commits"][oid]
            out.append(
                {
                    "id": oid,
                    "title": c["title"],
                    "message": c["message"],
                    "date": c["date"],
                    "authors": [{"user": c["author"], "avatar": ""}],
                }
            )
            oid = c["parent"]
        n, page = 50, int((self.query.get("p") or [0])[0])
        h = {"Link": f'<{self.hub.url}{self.rawpath}?p={page + 1}>; rel="next"'} if (page + 1) * n < len(out) else {}
        self.send(200, out[page * n : (page + 1) * n], {**h, "X-Total-Count": str(len(out))})

    def read(self, e):
        with open(self.hub.store.path("lfs" if "lfs" in e else "blobs", e.get("lfs") or e["oid"]), "rb") as f:
            return f.read()

    def resolve(self, rtype, rid, rev, path):
        repo = self.repo(rtype, rid)
        oid = self.hub.store.resolve(repo, rev)
        e = repo["commits"][oid]["tree"].get(path)
        if e is None:
            raise HubError(404, "Entry not found", "EntryNotFound")
        h = {"X-Repo-Commit": oid, "Accept-Ranges": "bytes", "ETag": f'"{e.get("lfs") or e["oid"]}"'}
        if "lfs" in e:
            h.update({"X-Linked-Size": str(e["size"]), "X-Linked-Etag": f'"{e["lfs"]}"'})
            if self.hub.lfs_redirect:  # like the real CDN hop: another origin, no auth header wanted there
                h["Location"] = f"{self.hub.cdn_url}/lfs/get/{e['lfs']}"
                return self.send(302, b"Found", h)
        self.send_file(self.hub.store.path("lfs" if "lfs" in e else "blobs", e.get("lfs") or e["oid"]), h)

    def lfs_get(self, oid, _):
        self.send_file(self.hub.store.path("lfs", oid), {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def send_file(self, fn, h):
        """Of one moment: the file may be replaced or removed by another request at any other."""
        try:
            file = open(fn, "rb")
        except FileNotFoundError:
            raise HubError(404, "Entry not found", "EntryNotFound") from None
        with file as f:
            size, status, lo, hi = os.fstat(f.fileno()).st_size, 200, 0, None
            if m := re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range") or ""):
                lo = int(m[1]) if m[1] else max(0, size - int(m[2]))
                hi = min(size - 1, int(m[2])) if m[1] and m[2] else size - 1
                if lo >= size:
                    return self.send(416, b"", {**h, "Content-Range": f"bytes */{size}"})
                status = 206
                h["Content-Range"] = f"bytes {lo}-{hi}/{size}"
            n = (hi + 1 if hi is not None else size) - lo
            if self.command == "HEAD":
                return self.send(status, b"", {**h, "Content-Length": str(n)})
            f.seek(lo)
            if self.fault or n <= 1 << 20:
                return self.send(status, f.read(n), h, "application/octet-stream")
            self.send(status, b"", {**h, "Content-Length": str(n), "Content-Type": "application/octet-stream"})
            while n > 0 and (data := f.read(min(n, 1 << 20))):
                self.wfile.write(data)
                n -= len(data)
