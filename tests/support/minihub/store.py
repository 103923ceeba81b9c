"""What the server keeps: blobs by hash on disk, one JSON a repository, replaced atomically."""

import datetime
import hashlib
import json
import os
import re
import tempfile
import threading
import time

LFS_PATTERNS = (
    "*.parquet",
    "*.arrow",
    "*.bin",
    "*.safetensors",
    "*.zip",
    "*.tar",
    "*.gz",
    "*.npz",
    "*.npy",
    "*.jpg",
    "*.jpeg",
    "*.png",
    "*.webp",
    "*.pt",
    "*.onnx",
    "*.h5",
    "*.msgpack",
)


def now():
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class HubError(Exception):
    def __init__(self, status, message, code=None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


def git_blob_sha(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Store:
    """Content-addressed blobs on disk, one JSON per repo; a commit is a full {path: entry} tree."""

    def __init__(self, root):
        self.root, self.lock = root, threading.RLock()
        for d in ("lfs", "blobs", "repos", "tmp"):
            os.makedirs(os.path.join(root, d), exist_ok=True)
        self.repos = {}
        for name in os.listdir(os.path.join(root, "repos")):
            with open(os.path.join(root, "repos", name), encoding="utf-8") as f:
                repo = json.load(f)
            self.repos[repo["type"], repo["id"].lower()] = repo

    def path(self, kind, oid):
        return os.path.join(self.root, kind, oid)

    def save(self, repo):
        fn = self.path("repos", f"{repo['type']}--{repo['id'].replace('/', '--').lower()}.json")
        with open(fn + ".tmp", "w", encoding="utf-8") as f:
            json.dump(repo, f)
        os.replace(fn + ".tmp", fn)

    def put_blob(self, data):
        oid = git_blob_sha(data)
        if not os.path.exists(self.path("blobs", oid)):
            with tempfile.NamedTemporaryFile(dir=self.path("tmp", ""), delete=False) as f:
                f.write(data)
            os.replace(f.name, self.path("blobs", oid))
        return oid

    def get(self, rtype, rid):
        repo = self.repos.get((rtype, rid.lower()))
        if repo is None:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return repo

    def create(self, rtype, rid, private):
        with self.lock:
            if (rtype, rid.lower()) in self.repos:
                raise HubError(409, "You already created this repo")
            repo = {
                "id": rid,
                "type": rtype,
                "private": private,
                "created": now(),
                "commits": {},
                "refs": {},
                "discussions": [],
            }
            self.repos[rtype, rid.lower()] = repo
            attrs = "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in LFS_PATTERNS).encode()
            tree = {".gitattributes": {"oid": self.put_blob(attrs), "size": len(attrs)}}
            self.commit(repo, "refs/heads/main", None, tree, "initial commit", "", "system")
            return repo

    def delete(self, rtype, rid):
        with self.lock:
            repo = self.get(rtype, rid)
            del self.repos[rtype, rid.lower()]
            os.remove(self.path("repos", f"{rtype}--{repo['id'].replace('/', '--').lower()}.json"))

    def commit(self, repo, ref, parent, tree, title, message, author, others=()):
        oid = hashlib.sha1(
            json.dumps([parent, tree, title, message, time.time_ns()], sort_keys=True).encode()
        ).hexdigest()
        repo["commits"][oid] = {
            "id": oid,
            "parent": parent,
            "tree": tree,
            "title": title,
            "message": message,
            "date": now(),
            "author": author,
        }
        repo["refs"][ref] = oid
        self.save(repo)
        return oid

    def ref_name(self, repo, rev):
        for name in (rev, f"refs/heads/{rev}", f"refs/tags/{rev}"):
            if name in repo["refs"]:
                return name
        return None

    def resolve(self, repo, rev):
        name = self.ref_name(repo, rev)
        if name:
            return repo["refs"][name]
        if len(rev) >= 5 and re.match(r"^[0-9a-f]+$", rev):
            for oid in repo["commits"]:
                if oid.startswith(rev):
                    return oid
        raise HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
