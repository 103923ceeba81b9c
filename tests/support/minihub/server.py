"""The server: routes, and two ports, since downloads of LFS files come from another origin."""

import json
import re
import threading
from http.server import ThreadingHTTPServer

import yaml

from support.minihub.buckets import Buckets
from support.minihub.faults import Faults
from support.minihub.jobs import JobRunner, Jobs
from support.minihub.listing import Listing
from support.minihub.plumbing import Plumbing
from support.minihub.refs import Refs
from support.minihub.store import HubError, Store
from support.minihub.uploads import Uploads


class Handler(Refs, Uploads, Listing, Buckets, Jobs, Plumbing):
    def route(self, unq):
        hub, st, p = self.hub, self.hub.store, self.rawpath
        if p == "/api/whoami-v2":
            n = self.user()
            return self.send(
                200,
                {
                    "type": "user",
                    "id": n,
                    "name": n,
                    "fullname": n,
                    "orgs": [],
                    "auth": {"type": "access_token", "accessToken": {"displayName": "t", "role": "write"}},
                },
            )
        if p == "/api/validate-yaml":
            return self.validate_yaml(json.loads(self.body()))
        if p == "/api/repos/create":
            user, d = self.user(), json.loads(self.body())
            rid, rtype = f"{d.get('organization') or user}/{d['name']}", d.get("type") or "model"
            if rid.split("/")[0] != user and user not in hub.admins:
                raise HubError(403, "You don't have the rights to create a repo in this namespace")
            url = f"{hub.url}/{'' if rtype == 'model' else rtype + 's/'}{rid}"
            try:
                st.create(rtype, rid, d.get("visibility") == "private" or bool(d.get("private")))
            except HubError as e:
                return self.send(e.status, {"error": e.message, "url": url}, {"X-Error-Message": e.message})
            return self.send(200, {"url": url, "name": rid, "id": rid})
        if p == "/api/repos/delete":
            d = json.loads(self.body())
            rid = f"{d.get('organization') or self.user()}/{d['name']}"
            self.repo(d.get("type") or "model", rid, write=True)
            st.delete(d.get("type") or "model", rid)
            return self.send(200, {})
        if m := re.match(r"^/lfs/(upload|part|complete|verify|get)/([0-9a-f]{64})(?:/(\d+))?$", p):
            return getattr(self, "lfs_" + m[1])(m[2], m[3])
        if m := re.match(r"^(?:/(datasets|spaces|models))?/([^/]+/[^/]+)\.git/info/lfs/objects/batch$", p):
            return self.lfs_batch(self.repo((m[1] or "models")[:-1], unq(m[2]), write=True), json.loads(self.body()))
        if m := re.match(r"^(?:/(datasets|spaces))?/([^/]+/[^/]+)/(?:resolve|raw)/([^/]+)/(.+)$", p):
            return self.resolve((m[1] or "models")[:-1], unq(m[2]), unq(m[3]), unq(m[4]))
        if m := re.match(r"^/api/resolve-cache/(datasets|spaces|models)/([^/]+/[^/]+)/([^/]+)/(.+)$", p):
            return self.resolve(m[1][:-1], unq(m[2]), unq(m[3]), unq(m[4]))
        if m := re.match(r"^/api/(datasets|models|spaces)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/(.*))?)?$", p):
            rtype, rid, verb, rest = m[1][:-1], unq(m[2]), (m[3] or "info").replace("-", "_"), m[4] or ""
            fn = getattr(
                self, f"api_{self.command.lower() if verb in ('tag', 'branch', 'discussions') else 'any'}_{verb}", None
            )
            if fn:
                return fn(rtype, rid, [unq(x) for x in rest.split("/")] if rest else [])
        if m := re.match(r"^/api/(buckets|jobs)/(.+)$", p):
            parts = [unq(part) for part in m[2].split("/")]
            return self.bucket(parts) if m[1] == "buckets" else self.api_jobs(parts)
        if m := re.match(r"^/buckets/([^/]+/[^/]+)/resolve/(.+)$", p):
            return self.bucket_resolve(f"{unq(m[1])}/{unq(m[2])}")
        raise HubError(404, f"minihub has no route for {self.command} {p}")

    def validate_yaml(self, d):
        m = re.match(r"^\s*---[ \t]*\r?\n(.*?)\r?\n---", d["content"], re.S)
        if not m:
            return self.send(
                200, {"warnings": [{"message": "empty or missing yaml metadata in repo card"}], "errors": []}
            )
        try:
            data = yaml.safe_load(m[1])
            assert data is None or isinstance(data, dict), "metadata must be a mapping"
            errors = [e for check in self.hub.card_checks for e in check(data or {}, d.get("repoType"))]
        except (yaml.YAMLError, AssertionError) as e:
            errors = [str(e)]
        self.send(400 if errors else 200, {"errors": [{"message": e} for e in errors], "warnings": []})


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128

    def handle_error(self, request, client_address):
        pass


class MiniHub:
    """with MiniHub(dir) as hub: os.environ['HF_ENDPOINT'] = hub.url (before importing huggingface_hub)."""

    def __init__(self, root, host="127.0.0.1", port=0, tokens=None, admins=(), part_size=None, lfs_redirect=True):
        self.store, self.faults = Store(root), Faults()
        self.tokens, self.admins = tokens or {"hf_user": "user"}, set(admins)
        self.part_size, self.lfs_redirect, self.card_checks = part_size, lfs_redirect, []
        self.job_runner = JobRunner(self)
        handler = type("H", (Handler,), {"hub": self})
        self.server, self.cdn = Server((host, port), handler), Server((host, 0), handler)
        self.url = f"http://{host}:{self.server.server_address[1]}"
        self.cdn_url = f"http://{host}:{self.cdn.server_address[1]}"

    def start(self):
        for s in (self.server, self.cdn):
            threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.job_runner.stop()
        for s in (self.server, self.cdn):
            s.shutdown()
            s.server_close()

    __enter__ = start

    def __exit__(self, *a):
        self.stop()
