"""What the runs of all agents share: installing, a flyball with a capped key before a scripted vendor, a recording of every
byte between agent and flyball, a scratch folder, and the checks.

An agent's file gives NAME, `install()` (returns what `command` needs), CASES and `command(case, fly, box, installed)` (returns
argv and the environment to add; writes the agent's own settings below box.home). It may give SECONDS for one case,
`script(vendor)` (returns a function of an Ask for Vendor.script), PROMPT (with {mark}), FILES (what the scratch folder must hold
afterwards), `allowed(exchange)` (an answer of 400 or more that the agent provokes by itself and goes on from) and
`keeps_thoughts(case)` (whether the agent sends sealed thoughts back, so that each must reach the vendor again).
"""

import contextlib
import fcntl
import io
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from vendor import KEY, Vendor

ROOT = Path(__file__).resolve().parents[3]
# A name that is set to nothing names no folder.
CACHE = Path(os.environ.get("FLYBALL_AGENTS_DIR") or ROOT / "target" / "agents").absolute()
BIN = str(Path(os.environ.get("FLYBALL_BIN", ROOT / "target" / "debug" / "flyball")).absolute())
CAP_USD = 20
# Straight to the vendor, on its own dialect: what fails then is a mistake of the suite and not of flyball.
DIRECT = bool(os.environ.get("AGENTS_DIRECT"))
PROMPT = (
    "Task {mark}: with your shell tool, in the current folder, first write the word one into the file one.txt, then copy it to two.txt and append "
    "the word two to that, then say that all is done. Run one command after the other."
)
FILES = {"one.txt": "one\n", "two.txt": "one\ntwo\n"}

# What an upstream is made of: the kind of provider, and its models with their tiers. Prices are the catalogue's but for `chat`.
UPSTREAMS = {
    "messages": ("anthropic", {"claude-haiku-4-5": "small", "claude-sonnet-4-5": "standard", "claude-opus-5-5": "reasoning"}),
    "responses": ("openai", {"gpt-5.4-mini": "small", "gpt-5.4": "standard", "gpt-6-sol": "reasoning"}),
    "gemini": ("gemini", {"gemini-3.5-flash-lite": "small", "gemini-3.8-flash": "standard", "gemini-3.1-pro-preview": "reasoning"}),
    "chat": ("openai-compatible", {"chat-small": "small", "chat-large": "reasoning"}),
    "deepseek": ("deepseek", {"deepseek-v4-flash": "small", "deepseek-v4-pro": "reasoning"}),
}


class Missing(Exception):
    """An agent cannot be installed here."""


# ---- installing


@contextlib.contextmanager
def alone(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def installed(name, wanted, commands):
    """The folder of that name in the cache; the commands run in it only when what is wanted changed."""
    folder = CACHE / name
    with alone(folder):
        stamp = folder / "installed.txt"
        if not (stamp.exists() and stamp.read_text() == wanted):
            for command in commands(folder):
                try:
                    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=1200)
                except (OSError, subprocess.TimeoutExpired) as bad:
                    raise Missing(f"{wanted}: {bad}") from bad
                if done.returncode:
                    raise Missing(f"{wanted}: {' '.join(command)}: {(done.stderr or done.stdout)[-800:]}")
            stamp.write_text(wanted)
    return folder


def npm(name, *packages):
    """Installs packages (`"ai@5.0.1"`) and gives the folder; programs are in node_modules/.bin."""

    def commands(folder):
        shutil.rmtree(folder / "node_modules", ignore_errors=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        yield ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error", *packages]

    return installed(name, " ".join(packages), commands)


def pip(name, *packages, python=sys.executable):
    """Installs packages (`"aider-chat==1.2"`) into a virtual environment and gives its bin folder."""

    def commands(folder):
        yield [python, "-m", "venv", "--clear", str(folder / "venv")]
        yield [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]

    return installed(name, " ".join(packages), commands) / "venv" / "bin"


# ---- checks


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, ok, detail=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print(f"PASS {name}" if ok else f"FAIL {name}: {str(detail)[:1500]}", flush=True)
        return ok


# ---- every byte between agent and flyball


@dataclass
class Exchange:
    method: str
    path: str
    headers: dict
    body: bytes
    status: int = 0
    answer_headers: dict = field(default_factory=dict)
    answer: bytes = b""

    def __str__(self):
        return f"{self.method} {self.path} -> {self.status} {self.answer[:300]!r}"


def message(stream, request=None):
    """The next message of HTTP/1.1 of a recording: (first line, headers, body), or None at its end."""
    line = stream.readline()
    if not line.strip():
        return None
    headers = {}
    while (head := stream.readline().rstrip(b"\r\n")) != b"":
        name, _, value = head.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    first, body = line.decode("latin-1").strip(), b""
    status = int(first.split()[1]) if first.startswith("HTTP/") else None
    if status == 101 or (status and (status < 200 or status in (204, 304))) or request == "HEAD":
        return first, headers, b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(stream.readline().split(b";")[0].strip() or b"0", 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    elif "content-length" in headers:
        body = stream.read(int(headers["content-length"]))
    elif status:
        body = stream.read()
    return first, headers, body


class Tap:
    """A port that hands every byte on to another one and back, unchanged, and keeps them."""

    def __init__(self, target):
        self.target, self.links, self.socks = target, [], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                link = (bytearray(), bytearray())
                self.links.append(link)
                self.socks += [near, far]
                for source, sink, kept in ((near, far, link[0]), (far, near, link[1])):
                    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self.pump, args=(source, sink, kept), daemon=True).start()

    @staticmethod
    def pump(source, sink, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def exchanges(self):
        found = []
        for asked, answered in list(self.links):
            ask, answer = io.BytesIO(bytes(asked)), io.BytesIO(bytes(answered))
            try:
                while got := message(ask):
                    method, path = got[0].split()[:2]
                    one = Exchange(method, path, got[1], got[2])
                    found.append(one)
                    back = message(answer, method)
                    while back and back[0].split()[1] == "100":
                        back = message(answer, method)
                    if back:
                        one.status, one.answer_headers, one.answer = int(back[0].split()[1]), back[1], back[2]
            except (ValueError, IndexError):
                found.append(Exchange("?", "a message that cannot be read", {}, bytes(asked[-300:])))
        return found

    def stop(self):
        for sock in [self.listener, *self.socks]:
            with contextlib.suppress(OSError):
                sock.close()


# ---- flyball


LISTENS = re.compile(r"flyball listens on http://127\.0\.0\.1:(\d+) ")


class Flyball:
    """A flyball before `vendor` with these upstreams; `url` is where the agent goes, `key` its capped key."""

    def __init__(self, vendor, upstreams, more=""):
        self.dir = Path(tempfile.mkdtemp(prefix="flyball-agents-"))
        # It takes free ports by itself: one that is looked for beforehand may be taken by the time it starts.
        text = f'listen = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\ndata_dir = "{self.dir}/data"\n{more}\n'
        for name in upstreams:
            kind, models = UPSTREAMS[name]
            text += f'\n[[provider]]\nname = "{name}"\nkind = "{kind}"\nbase_url = "{vendor.url}"\napi_key = "env:UPKEY"\nlocal = false\n'
            for model, tier in models.items():
                text += f'\n[[model]]\nname = "{model}"\nprovider = "{name}"\ntier = "{tier}"\n'
                if name == "chat":
                    dear = 1 if tier == "small" else 4
                    text += f'efforts = ["none", "low", "medium", "high"]\ncontext_tokens = 400000\ninput_usd_per_mtok = {dear}\noutput_usd_per_mtok = {10 * dear}\n'
        self.config = self.dir / "flyball.toml"
        self.config.write_text(text)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.dir), "UPKEY": KEY}
        self.key = next(w for w in self.cli("key", "create", "agent", "--cap-usd-day", str(CAP_USD)).split() if w.startswith("fb_"))
        self.log = open(self.dir / "log", "w")
        self.process = subprocess.Popen([BIN, "serve", "--config", str(self.config)], cwd=self.dir, env=self.env, stdout=self.log, stderr=self.log)
        if DIRECT:
            self.key = KEY
        port = self.listening()
        self.tap = Tap(vendor.server.server_port if DIRECT else port)
        self.url = f"http://127.0.0.1:{self.tap.port}"

    def listening(self):
        """The port of its traffic, once it says it."""
        end = time.monotonic() + 20
        while True:
            said = (self.dir / "log").read_text()
            if found := LISTENS.search(said):
                return int(found[1])
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("flyball does not start: " + said[-2000:])
            time.sleep(0.05)

    def cli(self, *args):
        done = subprocess.run([BIN, *args, "--config", str(self.config)], cwd=self.dir, env=self.env, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{args}: {done.stdout}{done.stderr}")
        return done.stdout

    def rows(self):
        """The ledger's attempts, once none of them is open."""
        for _ in range(50):
            rows = [json.loads(line) for line in self.cli("ledger", "export", "--jsonl").splitlines() if line.startswith("{")]
            if all(r.get("outcome") != "open" for r in rows):
                break
            time.sleep(0.1)
        return rows

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.tap.stop()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


# ---- the agent


class Box:
    """A scratch folder: `work` is where the agent works, `home` its home."""

    def __init__(self, prompt):
        self.dir = Path(tempfile.mkdtemp(prefix="agent-"))
        self.work, self.home, self.prompt = self.dir / "work", self.dir / "home", prompt
        for folder in (self.work, self.home, self.dir / "tmp"):
            folder.mkdir()
        # Agents look for a repository around them.
        with contextlib.suppress(OSError):
            subprocess.run(["git", "init", "-q", str(self.work)], check=False, env={"PATH": os.environ["PATH"], "HOME": str(self.home)})

    def env(self):
        """Nothing of the caller's environment, and no way out but to loopback."""
        home, nowhere = str(self.home), "http://127.0.0.1:9"
        return {
            "PATH": os.environ["PATH"], "HOME": home, "TMPDIR": str(self.dir / "tmp"), "LANG": "C.UTF-8", "TERM": "dumb", "NO_COLOR": "1", "SHELL": "/bin/bash", "USER": "agent",
            "XDG_CONFIG_HOME": f"{home}/.config", "XDG_DATA_HOME": f"{home}/.local/share", "XDG_CACHE_HOME": f"{home}/.cache", "XDG_STATE_HOME": f"{home}/.local/state",
            "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "http_proxy": nowhere, "https_proxy": nowhere, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
            "DO_NOT_TRACK": "1", "GIT_CONFIG_NOSYSTEM": "1", "NODE_NO_WARNINGS": "1",
        }  # fmt: skip

    def write(self, path, content):
        """Writes a settings file below home; a dict becomes JSON."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return file

    def run(self, argv, env, seconds):
        """(exit status or None for a timeout, output, errors, seconds); the agent's whole process group ends with it."""
        began = time.monotonic()
        with open(self.dir / "out", "w+") as out, open(self.dir / "err", "w+") as err:
            process = subprocess.Popen(argv, cwd=self.work, env=self.env() | env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return code, (self.dir / "out").read_text(errors="replace"), (self.dir / "err").read_text(errors="replace"), time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)


@dataclass
class Case:
    """One run: which upstreams flyball has, the model that the agent names, and what else the agent's file wants to know."""

    upstream: str
    model: str
    small: str = ""  # for agents that name a second model for titles and the like
    more: dict = field(default_factory=dict)

    def __str__(self):
        return " ".join([self.upstream, self.model, *(f"{k}={v}" for k, v in self.more.items())]).replace("\n", ", ")


def run_case(agent, case, ready, checks, keep=None):
    """Runs one case of an agent's file and checks it."""
    mark, token = f"T{secrets.token_hex(4)}", f"K{secrets.token_hex(6)}"
    prompt = getattr(agent, "PROMPT", PROMPT).format(mark=mark)
    name = f"[{agent.NAME}] {case}"
    with Vendor(mark, token) as vendor, Box(prompt) as box, Flyball(vendor, case.upstream.split("+"), case.more.get("config", "")) as fly:
        if hasattr(agent, "script"):
            vendor.script = agent.script(vendor)
        argv, env = agent.command(case, fly, box, ready)
        code, out, err, seconds = box.run([str(a) for a in argv], {k: str(v) for k, v in env.items()}, getattr(agent, "SECONDS", 120))
        exchanges = fly.tap.exchanges()
        bad = [x for x in exchanges if x.status >= 400 and not (hasattr(agent, "allowed") and agent.allowed(x))]
        ends = f"exit {code}, output: {out[-600:]!r}, errors: {err[-600:]!r}"
        good = checks.check(f"{name}: ends well and says the last words ({seconds:.1f} s)", code == 0 and token in out, ends)
        for file, content in getattr(agent, "FILES", FILES).items():
            held = (box.work / file).read_text() if (box.work / file).exists() else None
            good &= checks.check(f"{name}: {file}", held == content, f"{held!r}; the vendor was asked {len(vendor.asks)} times")
        good &= checks.check(f"{name}: the vendor took every request", bool(vendor.asks) and not vendor.refusals, [*vendor.refusals, *vendor.others] or "it was asked for nothing")
        good &= checks.check(f"{name}: flyball refused nothing", not bad, "; ".join(map(str, bad)))
        if getattr(agent, "keeps_thoughts", lambda _: False)(case):
            lost, of = vendor.lost()
            good &= checks.check(f"{name}: {of} sealed thoughts came back to the vendor", of and not lost, f"{lost} of {of} did not")
        rows = fly.rows()
        spent = sum(int(r.get("cost_pico_usd") or 0) for r in rows) / 1e12
        if not DIRECT:
            whole = [r for r in rows if r.get("outcome") == "ok"]
            booked = sorted((r["tokens"]["input"] + r["tokens"]["cached"] + r["tokens"]["cache_write"], r["tokens"]["output"]) for r in whole)
            left = list(vendor.told)
            strange = [b for b in booked if b not in left or left.remove(b)]
            fits = 0 < spent < CAP_USD and not strange and all(r["basis"] == "reported" for r in whole)
            good &= checks.check(f"{name}: ${spent:.4f} booked in {len(rows)} attempts, with the vendor's own figures", fits, f"told {vendor.told}, {json.dumps(rows)[-1500:]}")
        if keep and (not good or os.environ.get("AGENTS_KEEP_ALL")):
            save(keep / f"{agent.NAME} {case}".replace("/", "_"), vendor, exchanges, out, err, fly)
    return good


def save(folder, vendor, exchanges, out, err, fly):
    """Everything of a run, for whoever looks for what went wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "agent.out").write_text(out)
    (folder / "agent.err").write_text(err)
    (folder / "flyball.log").write_text((fly.dir / "log").read_text())
    for n, x in enumerate(exchanges):
        (folder / f"agent-{n:02}.txt").write_bytes(f"{x.method} {x.path}\n{json.dumps(x.headers, indent=1)}\n".encode() + x.body + f"\n\n{x.status}\n{json.dumps(x.answer_headers, indent=1)}\n".encode() + x.answer)
    for n, a in enumerate(vendor.asks):
        (folder / f"vendor-{n:02}.json").write_text(json.dumps({"path": a.path, "headers": a.headers, "refused": a.refused, "turn": repr(a.turn), "body": a.body}, indent=1))
