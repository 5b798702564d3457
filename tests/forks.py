"""Jupyter kernels that start at once: each is a fork of a process that has imported torch and matplotlib.

    python forks.py SOCKET                # that process; it ends when its standard input does
    python forks.py SOCKET -f CONNECTION  # what a kernel's spec names: asks for a fork, lasts as long as it

A fork is a new kernel in all but the imports: its namespace is empty, no line of `ddpm_abc` has run, it has
the folder and environment of whoever asked, and what it does to its process ends with it. With
COVERAGE_FILE_OF_KERNELS set, what it reaches of `ddpm_abc` is measured.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading


def serve(address: str) -> None:
    "Import, then fork whenever asked."
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as every kernel sets it
    del sys.path[0]  # this file's own folder
    for name in ("ipykernel.kernelapp", "matplotlib.pyplot", "torchvision"):
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        asker, _ = listener.accept()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        request = json.loads(asker.makefile().readline())
        if os.fork() == 0:
            listener.close()
            be_a_kernel(asker, request)
        asker.close()


def be_a_kernel(asker: socket.socket, request: dict) -> None:
    "What `python -m ipykernel_launcher` does, in a process that has the imports behind it."
    status = 1
    try:
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.environ.pop("PYTEST_CURRENT_TEST", None)  # a kernel would overlook what goes past sys.stderr
        os.environ.pop("JPY_PARENT_PID", None)  # in its place: when the asker goes, so does the kernel
        threading.Thread(target=lambda: (asker.recv(1), os._exit(1)), daemon=True).start()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["ipykernel_launcher", *request["arguments"]]
        with measured():
            from ipykernel import kernelapp

            kernelapp.launch_new_instance()
        status = 0
    except SystemExit as e:
        status = e.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@contextlib.contextmanager
def measured():
    "Coverage of the package, where it was asked for."
    if not (file := os.environ.get("COVERAGE_FILE_OF_KERNELS")):
        yield
        return
    import coverage

    running = coverage.Coverage(data_file=file, data_suffix=True, config_file=os.environ["COVERAGE_RCFILE"])
    running.start()
    try:
        yield
    finally:
        running.stop()
        running.save()


def ask(address: str, arguments: list[str]) -> None:
    "Have a fork run a kernel with these arguments, and wait for its end."
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Jupyter interrupts a kernel before it asks it to end
    kernel = socket.socket(socket.AF_UNIX)
    kernel.connect(address)
    request = {"folder": os.getcwd(), "environment": dict(os.environ), "arguments": arguments}
    kernel.sendall((json.dumps(request) + "\n").encode())
    kernel.recv(1)  # nothing comes: it closes when the fork ends


if __name__ == "__main__":
    ask(sys.argv[1], sys.argv[2:]) if sys.argv[2:] else serve(sys.argv[1])
