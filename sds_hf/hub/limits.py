"""Time limits of every request to the Hub, however it hangs. By themselves its clients wait for an answer for ever."""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

SILENCE = 60.0  # seconds without a byte, either way
TOTAL = 300.0  # seconds for a request with its answer, and besides
SLOWEST = 100_000.0  # bytes a second of what is sent or received


def limit_requests() -> None:
    """Give all requests that `huggingface_hub` makes in this process from now on the limits above.

    A client that the user's program has set up stays as it is otherwise. Versions before 1.0 keep their own limits.
    """
    from huggingface_hub.utils import _http

    factory: Any = getattr(_http, "_GLOBAL_CLIENT_FACTORY", None)
    if factory is not None and not (isinstance(factory, partial) and factory.func is _limited):
        _http.set_client_factory(partial(_limited, factory))


def _limited(factory: Callable[[], Any]) -> Any:
    """A client of `httpx`, or of what has its name next."""
    client = factory()
    package = sys.modules[type(client).__module__.split(".")[0]]

    class Timed(package.SyncByteStream):  # type: ignore[misc, name-defined]
        """A body that is sent or received in time."""

        def __init__(self, stream: Any, request: Any, headers: Any, error: Any) -> None:
            length = headers.get("Content-Length", "")
            self.limit = TOTAL + (int(length) / SLOWEST if length.isdecimal() else 0.0)
            self.stream, self.request, self.error = stream, request, error

        def __iter__(self) -> Iterator[bytes]:
            for part in self.stream:
                if time.monotonic() - self.request.extensions["started"] > self.limit:
                    raise self.error(f"not done after {self.limit:.0f} seconds", request=self.request)
                yield part

        def close(self) -> None:
            self.stream.close()

    def begin(request: Any) -> None:
        waits = request.extensions.get("timeout", {})
        for step in ("connect", "read", "write", "pool"):
            waits[step] = SILENCE if waits.get(step) is None else waits[step]
        request.extensions = {**request.extensions, "timeout": waits, "started": time.monotonic()}
        if isinstance(request.stream, package.SyncByteStream):
            request.stream = Timed(request.stream, request, request.headers, package.WriteTimeout)

    def answer(response: Any) -> None:
        response.stream = Timed(response.stream, response.request, response.headers, package.ReadTimeout)

    hooks = client.event_hooks
    client.event_hooks = {"request": [*hooks["request"], begin], "response": [answer, *hooks["response"]]}
    return client
