"""For tests of the page: its rules in a process of Node, servers, and large score tables."""

import asyncio
import hashlib
import json
import math
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.labels import VOC
from support.paths import ROOT

NODE = shutil.which("node")


class Node:
    """Asks a script of the page: a JSON line for a JSON line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, case: Any) -> Any:
        """What it answers."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def node(script: str) -> Iterator[Node]:
    """A process that runs as long as it is used."""
    assert NODE
    command = [NODE, str(ROOT / "page" / "test" / script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Node(process)
        assert process.stdin
        process.stdin.close()


def plain_number(value: float | None) -> float | str | None:
    """A number as JSON has it; what JSON has no word for as text."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def ask(
    app: Any, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """What an ASGI application answers: status, headers and body."""
    path, _, query = path.partition("?")
    request_headers = {"host": "127.0.0.1:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "server": ("x", 80),
        "client": ("x", 1), "headers": [(name.encode(), value.encode()) for name, value in request_headers.items()],
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    receipts: list[bool] = []

    async def receive() -> dict[str, Any]:
        if receipts:
            await asyncio.sleep(3600)  # the client stays
        receipts.append(True)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    answer = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answer, b"".join(message.get("body", b"") for message in sent[1:])


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of an application that runs in a thread."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join(20)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None: ...


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    """The address of a folder that knows nothing of us, and no ranges."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def many_scores(folder: Path, rows: int, per_shard: int = 25_000) -> Path:
    """A score table of made-up numbers, with a manifest."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    shards = []
    for start in range(0, rows, per_shard):
        count = min(per_shard, rows - start)
        classes = [sorted(set(rng.integers(1, 21, rng.integers(1, 4)).tolist())) for _ in range(count)]
        columns: dict[str, Any] = {
            "id": [f"row_{row:07d}" for row in range(start, start + count)],
            "row": pa.array(range(start, start + count), pa.int64()),
            "classes_present": pa.array(classes, pa.list_(pa.int32())),
            "num_classes_present": pa.array([len(ids) for ids in classes], pa.int32()),
        }
        for number, name in enumerate(("clip_sim", "clip_sim_mixed", "pcs", "asf_miou", "gmm_sim", "diversity")):
            columns[name] = pa.array(rng.beta(2 + number, 3, count).astype(np.float32))
        columns |= {"status": ["ok"] * count, "error": pa.nulls(count, pa.string())}
        path = folder / f"scores-{len(shards):05d}.parquet"
        pq.write_table(pa.table(columns), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"path": path.name, "rows": count, "failed": 0, "sha256": digest, "content_sha256": digest})
    manifest = {
        "format": 2, "complete": True, "rows_per_shard": per_shard,
        "source": {"name": "made up", "rows": rows, "sha256": "0"}, "scores": [],
        "labels": asdict(VOC), "models": {}, "device": "cpu", "notes": [], "versions": {}, "shards": shards,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
