"""Firefox over WebDriver BiDi, which it speaks itself: no driver is needed, and a release with long support
will do. Playwright's driver asks for commands that 140 does not have yet."""

import itertools
import json
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

PATIENCE = 180  # seconds, on a machine that does other things too


def listening(process: subprocess.Popen, profile: Path, until: float) -> str:
    "Host and port, which Firefox writes into its profile once it listens."
    told = profile / "WebDriverBiDiServer.json"
    while time.monotonic() < until and process.poll() is None:
        if told.exists() and (text := told.read_text()):
            return "{ws_host}:{ws_port}".format(**json.loads(text))
        time.sleep(0.1)
    raise RuntimeError(f"{process.args[0]} ended, or does not listen: is it Firefox 129 or newer?")


class Firefox:
    "One page of a headless Firefox, with those methods of Playwright's pages that the tests need."

    def __init__(self, path: str):
        self.serial = itertools.count()
        self.errors: list[str] = []
        with ExitStack() as stack:
            profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            command = [path, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            address = listening(process, Path(profile), time.monotonic() + PATIENCE)
            self.socket = stack.enter_context(connect(f"ws://{address}/session", max_size=None))
            self.version = self.call("session.new", capabilities={})["capabilities"]["browserVersion"]
            self.call("session.subscribe", events=["log.entryAdded"])
            self.context = self.call("browsingContext.getTree")["contexts"][0]["context"]
            self.stack = stack.pop_all()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.serial)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv(timeout=PATIENCE))).get("id") != number:
            if answer.get("method") == "log.entryAdded" and answer["params"]["level"] == "error":
                self.errors.append(answer["params"]["text"])
        if answer["type"] == "error":
            raise RuntimeError(f"{method}: {answer['error']}: {answer['message']}")
        return answer["result"]

    def goto(self, url: str, wait_until: str = "load") -> None:
        self.call("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def evaluate(self, function: str, arg: Any = None) -> Any:
        "What a function of the page returns, or its promise."
        said = self.call(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({function})({json.dumps(arg)})) ?? null))()",
            target={"context": self.context},
            awaitPromise=True,
        )
        if said["type"] == "exception":
            raise RuntimeError(said["exceptionDetails"]["text"])
        return json.loads(said["result"]["value"])

    def wait_for_function(self, function: str, arg: Any = None, timeout: float = 30_000) -> None:
        until = time.monotonic() + timeout / 1e3
        while not self.evaluate(function, arg):
            if time.monotonic() > until:
                raise TimeoutError(f"not so within {timeout / 1e3:g} s: {function}")
            time.sleep(0.1)

    def close(self) -> None:
        self.stack.close()
