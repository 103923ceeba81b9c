"""Do again what the network or a server spoilt for a moment, with growing pauses."""

import json
import logging
import random
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from textwrap import shorten
from typing import Any, TypeVar

from sds_hf.errors import public_text

logger = logging.getLogger(__name__)

ATTEMPTS = 5
DELAY = 0.5  # seconds before the second attempt; each later one waits twice as long
LONGEST = 120.0  # seconds a pause may take, whatever the server asks for
PASSING = (408, 409, 412, 425, 429, 500, 502, 503, 504)  # answers after which it is worth trying again

NONSENSE = (AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError)  # what other answers make of a client

T = TypeVar("T")


class BadAnswerError(OSError):
    """An answer of the Hub that is none to what was asked."""


def retry(action: Callable[[], T], name: str) -> T:
    """Do something with the Hub, several times where that can help.

    Args:
        action: what to do; it starts anew each time, so it must look first at what is done already.
        name: what the log calls it.

    Raises:
        Exception: the last of `failures()`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _answered(action)
        except failures() as error:
            if attempt == ATTEMPTS or not _may_pass(error):
                raise
            seconds = _pause(attempt, error)
            logger.warning("%s: %s; trying again in %.1f s", name, describe(error), seconds)
        time.sleep(seconds)
    raise AssertionError("unreachable")


def _answered(action: Callable[[], T]) -> T:
    """Do something; what the client stumbles over in an answer is one kind of error.

    Raises:
        BadAnswerError: if the answer is other JSON, or no text.
    """
    try:
        return action()
    except NONSENSE as error:
        if not _is_of_client(error):
            raise
        raise BadAnswerError(f"its answer makes no sense ({type(error).__name__})") from error


def _is_of_client(error: BaseException) -> bool:
    """Whether an error was raised in the client of the Hub, not in code of ours."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").startswith("huggingface_hub."):
            return True
        trace = trace.tb_next
    return False


def advice(error: BaseException, otherwise: str) -> str:
    """What to do after a failure; for all but one of the login, `otherwise`."""
    if status_of(error) in (401, 403):
        return "log in with `hf auth login`, or give a token that may do this"
    return otherwise


def failures() -> tuple[type[Exception], ...]:
    """What goes wrong on the way; the HTTP library depends on the version of `huggingface_hub`.

    Uploads fail with a RuntimeError that has the reason as its cause, answers cut short with a JSONDecodeError.
    """
    from huggingface_hub.errors import HfHubHTTPError

    bases: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
    return OSError, RuntimeError, json.JSONDecodeError, *bases


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an answer that was an error; None if there was no answer."""
    status = getattr(_response(error), "status_code", None)
    return status if isinstance(status, int) else None


def describe(error: BaseException) -> str:
    """A failure in one line."""
    status, error = status_of(error), _origin(error)
    if status:
        reason = shorten(getattr(error, "server_message", None) or "", 200, placeholder=" ...")
        return public_text(f"the Hub answered {status}" + (f" ({reason})" if reason else ""))
    if isinstance(error, BadAnswerError):
        return f"the Hub: {error}"
    return public_text(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")


def _may_pass(error: BaseException) -> bool:
    status = status_of(error)
    if status is not None:
        return status in PASSING
    return getattr(_origin(error), "filename", None) is None  # a file of this machine is no better the next time


def _pause(attempt: int, error: BaseException) -> float:
    """Seconds to wait, no less than the server asks for and not in step with other clients."""
    seconds = max(_retry_after(error), DELAY * 2 ** (attempt - 1))
    return float(min(LONGEST, seconds * random.uniform(1.0, 1.25)))


def _retry_after(error: BaseException) -> float:
    """Seconds that `Retry-After`, or else the Hub's `RateLimit`, asks for."""
    headers: Any = getattr(_response(error), "headers", {})
    value = headers.get("Retry-After") or ""
    if re.fullmatch(r"\s*[0-9]+\s*", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        match = re.search(r"\br=0;\s*t=(\d+)", headers.get("RateLimit") or "")
        return float(match[1]) if match else 0.0


def _response(error: BaseException) -> Any:
    return getattr(_origin(error), "response", None)


def _origin(error: BaseException) -> BaseException:
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error
