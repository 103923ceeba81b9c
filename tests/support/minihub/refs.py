"""Tags, branches, discussions and pull requests."""

import json
import os

from support.minihub.store import HubError, now


class Refs:
    def api_post_tag(self, rtype, rid, rest):
        repo, d, st = self.repo(rtype, rid, write=True), json.loads(self.body()), self.hub.store
        with st.lock:
            if f"refs/tags/{d['tag']}" in repo["refs"]:
                raise HubError(409, "Tag already exists")
            repo["refs"][f"refs/tags/{d['tag']}"] = st.resolve(repo, "/".join(rest))
            st.save(repo)
        self.send(200, {})

    def api_delete_tag(self, rtype, rid, rest, pre="refs/tags/"):
        repo, st = self.repo(rtype, rid, write=True), self.hub.store
        with st.lock:
            if repo["refs"].pop(pre + "/".join(rest), None) is None:
                raise HubError(404, "Invalid rev id", "RevisionNotFound")
            st.save(repo)
        self.send(200, {})

    def api_post_branch(self, rtype, rid, rest):
        repo, d, st = self.repo(rtype, rid, write=True), json.loads(self.body() or b"{}"), self.hub.store
        name = "/".join(rest)
        if name.startswith("refs/"):
            raise HubError(400, "Invalid reference for a branch")
        with st.lock:
            if f"refs/heads/{name}" in repo["refs"]:
                raise HubError(409, "Branch already exists")
            repo["refs"][f"refs/heads/{name}"] = st.resolve(repo, d.get("startingPoint") or "main")
            st.save(repo)
        self.send(200, {})

    def api_delete_branch(self, rtype, rid, rest):
        self.api_delete_tag(rtype, rid, rest, "refs/heads/")

    def new_discussion(self, repo, title, description, user, pr, status=None):
        num = len(repo["discussions"]) + 1
        ev = {
            "id": f"{num:024x}",
            "type": "comment",
            "createdAt": now(),
            "author": {"name": user},
            "data": {"edited": False, "hidden": False, "latest": {"raw": description, "html": description}},
        }
        repo["discussions"].append(
            {
                "num": num,
                "title": title,
                "author": {"name": user},
                "createdAt": now(),
                "status": status or ("draft" if pr else "open"),
                "isPullRequest": pr,
                "events": [ev],
                "base": repo["refs"]["refs/heads/main"],
                "merge": None,
            }
        )
        if pr:
            repo["refs"][f"refs/pr/{num}"] = repo["refs"]["refs/heads/main"]
        return num

    def discussion_json(self, repo, d):
        return {
            **{k: d[k] for k in ("num", "title", "author", "createdAt", "status", "isPullRequest", "events")},
            "repo": {"name": repo["id"], "type": repo["type"]},
            "filesWithConflicts": [],
            "diff": None,
            "changes": {"base": "refs/heads/main", "mergeCommitId": d["merge"]},
        }

    def api_get_discussions(self, rtype, rid, rest):
        repo = self.repo(rtype, rid)
        if not rest:
            return self.send(
                200,
                {
                    "discussions": [self.discussion_json(repo, d) for d in repo["discussions"]],
                    "count": len(repo["discussions"]),
                    "start": 0,
                },
            )
        if not 1 <= int(rest[0]) <= len(repo["discussions"]):
            raise HubError(404, "Discussion not found")
        self.send(200, self.discussion_json(repo, repo["discussions"][int(rest[0]) - 1]))

    def api_post_discussions(self, rtype, rid, rest):
        st, user, d = self.hub.store, self.user(), json.loads(self.body() or b"{}") or {}
        repo = self.repo(rtype, rid, write=bool(rest) and rest[1] in ("merge", "status"))
        with st.lock:
            if not rest:
                num = self.new_discussion(repo, d["title"], d["description"], user, bool(d.get("pullRequest")))
                st.save(repo)
                return self.send(200, {"num": num, "title": d["title"]})
            disc = repo["discussions"][int(rest[0]) - 1]
            ev = {"id": os.urandom(12).hex(), "createdAt": now(), "author": {"name": user}}
            if rest[1] == "comment":
                ev.update(
                    type="comment", data={"edited": False, "hidden": False, "latest": {"raw": d["comment"], "html": ""}}
                )
                key = "newMessage"
            elif rest[1] == "status":
                disc["status"] = d["status"]
                ev.update(type="status-change", data={"status": d["status"]})
                key = "newStatus"
            elif rest[1] == "merge":
                if disc["status"] != "open":
                    raise HubError(
                        400 if disc["status"] != "draft" else 403, f"cannot merge a {disc['status']} pull request"
                    )
                pr, main = repo["commits"][repo["refs"][f"refs/pr/{disc['num']}"]], repo["refs"]["refs/heads/main"]
                base, cur = repo["commits"][disc["base"]]["tree"], dict(repo["commits"][main]["tree"])
                for k in set(base) | set(pr["tree"]):  # 3-way, per file
                    if base.get(k) != pr["tree"].get(k):
                        if cur.get(k) not in (base.get(k), pr["tree"].get(k)):
                            raise HubError(409, f"conflict on {k}")
                        cur.pop(k, None)
                        if k in pr["tree"]:
                            cur[k] = pr["tree"][k]
                disc["merge"] = st.commit(
                    repo, "refs/heads/main", main, cur, f"{disc['title']} (#{disc['num']})", "", user
                )
                disc["status"] = "merged"
                ev.update(type="status-change", data={"status": "merged"})
                key = "newStatus"
            else:
                raise HubError(404, "no such action")
            disc["events"].append(ev)
            st.save(repo)
        self.send(200, {key: ev})
