"""Buckets: files by path that are replaced in place. Contents come by a plain PUT, where the Hub has xet."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from support.minihub.store import HubError, now


class Buckets:
    def bucket(self, rest):
        """`/api/buckets/{user}/{name}[/{verb}[/{path}]]`"""
        user, name, verb, path = [*rest, "", ""][:4]
        folder = Path(self.hub.store.root, "buckets", user, name)
        if self.command == "POST" and not verb:
            self.body()
            url = {"url": f"{self.hub.url}/buckets/{user}/{name}"}
            if folder.exists():
                return self.send(409, url, {"X-Error-Message": "You already created this bucket"})
            if user != self.user():
                raise HubError(403, "You don't have the rights to create a bucket in this namespace")
            folder.mkdir(parents=True)
            return self.send(200, url)
        if not folder.exists():
            raise HubError(404, "Bucket not found", "RepoNotFound")
        return getattr(self, f"bucket_{(verb or 'info').replace('-', '_')}")(folder, path)

    def bucket_info(self, folder, _):
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        about = {"id": f"{folder.parent.name}/{folder.name}", "private": True, "createdAt": now()}
        self.send(200, {**about, "size": sum(sizes), "totalFiles": len(sizes)})

    def bucket_entry(self, folder, path):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "uploadedAt": now()}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {"type": "file", "path": name, "size": path.stat().st_size, "xetHash": digest, "mtime": now()}

    def bucket_entries(self, folder, paths):
        """Of those that are still there when they are looked at: other requests write and delete meanwhile."""
        entries = []
        for path in paths:
            with suppress(FileNotFoundError):
                entries.append(self.bucket_entry(folder, path))
        return entries

    def bucket_tree(self, folder, prefix):
        recursive = (self.query.get("recursive") or ["false"])[0].lower() == "true"
        start = folder / prefix
        paths = [start] if start.is_file() else start.rglob("*") if recursive else start.glob("*")
        chosen = [path for path in sorted(paths) if not recursive or path.is_file()]
        self.send(200, self.bucket_entries(folder, chosen))

    def bucket_paths_info(self, folder, _):
        paths = [folder / path for path in json.loads(self.body())["paths"]]
        self.send(200, self.bucket_entries(folder, [path for path in paths if path.is_file()]))

    def bucket_batch(self, folder, _):
        if folder.parent.name != self.user():
            raise HubError(403, "You don't have the rights to write here")
        for line in self.body().splitlines():
            entry = json.loads(line)
            path = folder / entry["path"]
            if entry["type"] == "deleteFile":
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            part = Path(self.hub.store.path("tmp", f"bucket-{os.urandom(8).hex()}"))
            part.write_bytes(Path(self.hub.store.path("lfs", entry["xetHash"])).read_bytes())
            part.replace(path)
        self.send(200, {"failed": []})

    def bucket_resolve(self, rest):
        path = Path(self.hub.store.root, "buckets", rest)
        try:
            changed = path.stat().st_mtime_ns if path.is_file() else None
        except FileNotFoundError:  # another request has deleted it just now
            changed = None
        if changed is None:
            raise HubError(404, "Entry not found", "EntryNotFound")
        self.send_file(str(path), {"ETag": f'"{changed}"', "Accept-Ranges": "bytes"})
