"""Faults on demand: rules that say which request goes wrong, and how."""

import re
import threading


class Faults:
    """Rules tried in order on each request: {'match': regex on 'METHOD path', 'times': n, 'do': ..., ...}.

    do: status(code[,body,headers]) | drop_before | drop_after (handler runs, answer lost) | truncate(bytes) | sleep(s)
    | drop_upload(bytes) (close the socket after reading that much of the body) | corrupt (flip one byte of the body)
    | answer(body) (handler runs, the body is another) | hang(bytes) (handler runs, the answer stops until `go_on`)
    | drip(s) (a byte of the answer every s seconds) | redirect(url) (to another host)
    With `call`, a function, this is done first.
    """

    def __init__(self):
        self.rules, self.log, self.lock = [], [], threading.Lock()
        self.go_on = threading.Event()

    def add(self, match, do, times=1, after=0, **kw):
        self.rules.append({"re": re.compile(match), "do": do, "times": times, "after": after, **kw})

    def clear(self):
        self.rules.clear()
        self.go_on.set()
        self.go_on = threading.Event()

    def take(self, line):
        with self.lock:
            for r in self.rules:
                if r["re"].search(line):
                    if r["after"] > 0:
                        r["after"] -= 1
                    elif r["times"] != 0:
                        r["times"] -= 1
                        return r
        return None
