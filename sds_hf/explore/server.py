"""The page, served on this machine: nothing but the table, the dataset's pictures and the page's own files."""

import ipaddress
from collections.abc import Callable
from threading import Lock
from typing import Any

from sds_hf.errors import extra_module
from sds_hf.explore.bundle import NAMES, POLICY, page_file
from sds_hf.explore.exploration import Exploration, write_captions
from sds_hf.explore.pictures import Size, small_mask
from sds_hf.explore.pixels import write_pixels
from sds_hf.limits import read_json

KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
LOCAL = ("localhost", "127.0.0.1", "::1")
LARGEST_MARK = 1 << 14  # bytes
LONGEST_PATH = 256  # characters; Python makes no number of thousands of digits


def make_app(exploration: Exploration, hosts: tuple[str, ...] = LOCAL) -> Any:
    """An ASGI application.

    Args:
        exploration: what is looked at.
        hosts: names this server answers to; requests for others come from pages elsewhere and are refused.

    Raises:
        ModuleNotFoundError: without the extra `explore`.
    """
    applications, routing = extra_module("starlette.applications"), extra_module("starlette.routing")
    handlers = _Handlers(exploration)
    routes = [
        routing.Route("/", handlers.page),
        routing.Route("/explore.json", handlers.config),
        routing.Route("/table/{number:int}.parquet", handlers.table),
        routing.Route("/captions.parquet", handlers.captions),
        routing.Route("/pixels.parquet", handlers.pixels),
        routing.Route("/rows/{row:int}/shuffles", handlers.shuffles),
        routing.Route("/rows/{row:int}/{what}", handlers.picture),
        routing.Route("/marks", handlers.marks, methods=["GET", "POST"]),
        routing.Route("/{name}", handlers.page),
    ]
    return _guarded(applications.Starlette(routes=routes), hosts)


class _Handlers:
    """What is answered; those that are no coroutines run in threads."""

    def __init__(self, exploration: Exploration) -> None:
        self._exploration, self._lock, self._responses = exploration, Lock(), extra_module("starlette.responses")

    def page(self, request: Any) -> Any:
        name = request.path_params.get("name") or "index.html"
        if name not in NAMES:
            return self._nothing(f"there is no {name} here")
        return self._responses.Response(page_file(name), media_type=KINDS[name.rpartition(".")[2]])

    def config(self, request: Any) -> Any:
        return self._responses.JSONResponse(self._exploration.config())

    def table(self, request: Any) -> Any:
        number = request.path_params["number"]
        if number >= len(self._exploration.tables):
            return self._nothing("there is no such part of the table")
        return self._responses.FileResponse(self._exploration.tables[number])

    def captions(self, request: Any) -> Any:
        dataset = self._exploration.dataset
        if dataset is None or "caption" not in dataset.column_names:
            return self._nothing("there are no captions")
        return self._cached_file("captions.parquet", lambda path: write_captions(dataset, path))

    def pixels(self, request: Any) -> Any:
        dataset, labels = self._exploration.dataset, self._exploration.labels
        if dataset is None or labels is None or "mask" not in dataset.column_names:
            return self._nothing("there are no masks")
        return self._cached_file("pixels.parquet", lambda path: write_pixels(dataset, labels, path))

    def picture(self, request: Any) -> Any:
        row, what = request.path_params["row"], request.path_params["what"]
        size: Size = "small" if request.query_params.get("size") == "small" else "full"
        pictures, views = self._exploration.pictures, self._exploration.views
        if pictures is None or what not in ("image", "mask", "reference"):
            return self._nothing("there is no such picture")

        def make() -> Any:
            if what == "image":
                return self._responses.Response(pictures.image(row, size), media_type="image/jpeg")
            if what == "mask":
                return self._responses.Response(pictures.mask(row, size), media_type="image/png")
            if views is None:
                return self._nothing("there are no reference masks")
            reference = views.reference(pictures.cell(row, "image"), pictures.cell(row, "mask"))
            return self._responses.Response(small_mask(reference, size), media_type="image/png")

        return self._tried(make)

    def shuffles(self, request: Any) -> Any:
        row, pictures, views = request.path_params["row"], self._exploration.pictures, self._exploration.views
        if pictures is None or views is None:
            return self._nothing("there are no shuffled versions")

        def make() -> Any:
            versions = views.shuffles(pictures.cell(row, "image"), pictures.cell(row, "mask"))
            return self._responses.JSONResponse(versions)

        return self._tried(make)

    async def marks(self, request: Any) -> Any:
        marks = self._exploration.marks
        if request.method == "GET":
            return self._tried(lambda: self._responses.JSONResponse(marks.lines()))
        # A form of another page can post, but not as JSON, and its browser says where it comes from.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return self._responses.PlainTextResponse("a mark is sent as JSON", 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_MARK:
                return self._responses.PlainTextResponse("a mark is small", 413)
        try:
            change = read_json(body, "the mark")
            if not isinstance(change, dict):
                raise ValueError("a mark is an object")
            marks.change(change)
        except ValueError as error:
            return self._responses.PlainTextResponse(str(error), 400)
        except OSError as error:
            return self._responses.PlainTextResponse(str(error), 507)
        return self._responses.JSONResponse({"file": str(marks.path)})

    def _cached_file(self, name: str, make: Callable[[Any], None]) -> Any:
        """A file that is made when it is first asked for."""
        path = self._exploration.cached(name)
        with self._lock:
            if not path.exists():
                make(path)
        return self._responses.FileResponse(path)

    def _tried(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (ValueError, OSError, ModuleNotFoundError) as error:
            return self._nothing(" ".join(str(error).split()))

    def _nothing(self, text: str) -> Any:
        return self._responses.PlainTextResponse(text, 404)


def _guarded(app: Any, hosts: tuple[str, ...]) -> Any:
    """The application behind a check of the Host and Origin headers, with the headers of every answer."""

    async def guarded(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        request_headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = request_headers.get("host", ""), request_headers.get("origin")
        if not is_expected(host, hosts) or origin not in (None, f"http://{host}"):
            return await _refuse(send, 403, "this server answers only pages of its own address")
        if len(scope["path"]) > LONGEST_PATH:
            return await _refuse(send, 404, "there is nothing at so long an address")

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in there)]
            await send(message)

        return await app(scope, receive, sending)

    return guarded


async def _refuse(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def is_expected(host: str, hosts: tuple[str, ...]) -> bool:
    """Whether a Host header names this server: another name that leads here is a trick (DNS rebinding)."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]").lower()
    return name in hosts or ("*" in hosts and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def serve(
    exploration: Exploration, host: str = "127.0.0.1", port: int = 0, told: Callable[[str], None] = print
) -> None:
    """Serve the page until it is interrupted.

    Args:
        exploration: what is looked at.
        host: address to bind to; another than this machine's own lets everyone in the network see the pictures.
        port: 0 for any that is free.
        told: called with the page's address once it answers.

    Raises:
        OSError: if the port is taken.
    """
    import socket

    uvicorn = extra_module("uvicorn")
    everywhere = host in ("0.0.0.0", "::")
    names = (*LOCAL, host, socket.gethostname().lower(), *(("*",) if everywhere else ()))
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        address = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
        told(f"http://{address}:{listening.getsockname()[1]}/")
        config = uvicorn.Config(make_app(exploration, names), log_level="warning", server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
