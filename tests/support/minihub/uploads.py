"""Uploads: preupload, LFS in one piece or many, and commits."""

import base64
import fnmatch
import hashlib
import json
import os
import tempfile

from support.minihub.store import LFS_PATTERNS, HubError, git_blob_sha


class Uploads:
    def api_any_preupload(self, rtype, rid, rest):
        repo = self.repo(rtype, rid, write="create_pr" not in self.query)
        d, st = json.loads(self.body()), self.hub.store
        tree = repo["commits"][st.resolve(repo, "/".join(rest))]["tree"]
        out = []
        for f in d["files"]:
            lfs = any(fnmatch.fnmatch(os.path.basename(f["path"]), p) for p in LFS_PATTERNS) or f["size"] > 10 << 20
            ignore = any(
                fnmatch.fnmatch(f["path"], p.strip()) for p in (d.get("gitIgnore") or "").splitlines() if p.strip()
            )
            e = tree.get(f["path"])
            out.append(
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if lfs else "regular",
                    "shouldIgnore": ignore,
                    "oid": (e.get("lfs") or e["oid"]) if e else None,
                }
            )
        self.send(200, {"files": out})

    def lfs_batch(self, repo, d):
        out, hub = [], self.hub
        for o in d["objects"]:
            if os.path.exists(hub.store.path("lfs", o["oid"])):
                out.append({"oid": o["oid"], "size": o["size"]})
            elif hub.part_size and o["size"] > hub.part_size and "multipart" in d["transfers"]:
                n = -(-o["size"] // hub.part_size)
                out.append(
                    {
                        "oid": o["oid"],
                        "size": o["size"],
                        "actions": {
                            "upload": {
                                "href": f"{hub.url}/lfs/complete/{o['oid']}",
                                "header": {
                                    "chunk_size": str(hub.part_size),
                                    **{str(i): f"{hub.url}/lfs/part/{o['oid']}/{i}" for i in range(1, n + 1)},
                                },
                            },
                            "verify": {"href": f"{hub.url}/lfs/verify/{o['oid']}"},
                        },
                    }
                )
            else:
                out.append(
                    {
                        "oid": o["oid"],
                        "size": o["size"],
                        "actions": {
                            "upload": {"href": f"{hub.url}/lfs/upload/{o['oid']}"},
                            "verify": {"href": f"{hub.url}/lfs/verify/{o['oid']}"},
                        },
                    }
                )
        self.send(200, {"transfer": "basic", "objects": out}, ctype="application/vnd.git-lfs+json")

    def receive(self, dest=None, expect=None):
        h = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.hub.store.path("tmp", ""), delete=False) as f:
            try:
                for data in self.iter_body():
                    h.update(data)
                    f.write(data)
            except BaseException:
                os.unlink(f.name)
                raise
        if expect and h.hexdigest() != expect:
            os.unlink(f.name)
            raise HubError(400, f"sha256 mismatch: got {h.hexdigest()}")
        os.replace(f.name, dest)
        return h.hexdigest()

    def lfs_upload(self, oid, _):
        self.receive(self.hub.store.path("lfs", oid), oid)
        self.send(200, b"")

    def lfs_part(self, oid, n):
        etag = self.receive(self.hub.store.path("tmp", f"{oid}.{int(n):05d}"))
        self.send(200, b"", {"ETag": f'"{etag}"'})

    def lfs_complete(self, oid, _):
        d, st = json.loads(self.body()), self.hub.store
        h, final = hashlib.sha256(), st.path("tmp", oid)
        with open(final, "wb") as out:
            for part in sorted(d["parts"], key=lambda x: x["partNumber"]):
                with open(st.path("tmp", f"{oid}.{part['partNumber']:05d}"), "rb") as f:
                    data = f.read()
                h.update(data)
                out.write(data)
        if h.hexdigest() != oid:
            raise HubError(400, "sha256 mismatch on completion")
        os.replace(final, st.path("lfs", oid))
        self.send(200, {})

    def lfs_verify(self, oid, _):
        d, fn = json.loads(self.body()), self.hub.store.path("lfs", oid)
        if not os.path.exists(fn) or os.path.getsize(fn) != d["size"]:
            raise HubError(404, "LFS object not found")
        self.send(200, {})

    def api_any_commit(self, rtype, rid, rest):
        st, create_pr = self.hub.store, "create_pr" in self.query
        repo = self.repo(rtype, rid, write=not create_pr)
        user = self.user()
        items = [json.loads(x) for x in self.body().splitlines() if x.strip()]
        head = items[0]["value"]
        with st.lock:
            rev = "/".join(rest)
            ref = st.ref_name(repo, rev)
            if ref is None or ref.startswith("refs/tags/"):
                raise HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
            parent = repo["refs"][ref]
            if head.get("parentCommit") and not parent.startswith(head["parentCommit"]):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            tree = dict(repo["commits"][parent]["tree"])
            for it in items[1:]:
                k, v = it["key"], it["value"]
                if k == "file":
                    data = base64.b64decode(v["content"]) if v.get("encoding") == "base64" else v["content"].encode()
                    tree[v["path"]] = {"oid": st.put_blob(data), "size": len(data)}
                elif k == "lfsFile":
                    fn = st.path("lfs", v["oid"])
                    if not os.path.exists(fn):
                        raise HubError(400, f"LFS pointer {v['oid']} points to a file that does not exist")
                    size = os.path.getsize(fn)
                    pointer = (
                        f"version https://git-lfs.github.com/spec/v1\noid sha256:{v['oid']}\nsize {size}\n".encode()
                    )
                    tree[v["path"]] = {
                        "oid": git_blob_sha(pointer),
                        "size": size,
                        "lfs": v["oid"],
                        "psize": len(pointer),
                    }
                elif k == "deletedFile":
                    if tree.pop(v["path"], None) is None:
                        raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                elif k == "deletedFolder":
                    pre = v["path"].rstrip("/") + "/"
                    if not any(x.startswith(pre) for x in tree):
                        raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                    tree = {x: e for x, e in tree.items() if not x.startswith(pre)}
                else:
                    raise HubError(400, f"unknown operation {k}")
            out = {"success": True, "hookOutput": ""}
            if create_pr:
                num = self.new_discussion(repo, head["summary"], head.get("description") or "", user, True, "open")
                ref = f"refs/pr/{num}"
                out["pullRequestUrl"] = f"{self.repo_url(repo)}/discussions/{num}"
            oid = st.commit(repo, ref, parent, tree, head["summary"], head.get("description") or "", user)
        self.send(200, {**out, "commitOid": oid, "commitUrl": f"{self.repo_url(repo)}/commit/{oid}"})

    def repo_url(self, repo):
        return f"{self.hub.url}/{'' if repo['type'] == 'model' else repo['type'] + 's/'}{repo['id']}"
