#!/usr/bin/env python3
"""What people put before flyball and behind it: curl, openssl, h2load and the SDKs, over HTTP/1.1 and HTTP/2, with TLS, without, and over a
unix socket; and a flyball behind a flyball, which agree on HTTP/2 over TLS.

Everything is answered by simulated models. Prints PASS and FAIL lines; the exit status is 0 only if all passed.

    tests/e2e/front.py --flyball target/debug/flyball
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from llama import CACHE, Child, Failed, alone, run, say

LISTENS = re.compile(r"flyball listens on (\S+) \(metrics and health on ([^\s)]+)\)")
ASK = json.dumps({"model": "sim-small", "messages": [{"role": "user", "content": "hello"}]})
STREAM = json.dumps({**json.loads(ASK), "stream": True})
SIMULATED = "[simulate]\nspeed = 1000\n"
TLS = '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
SDK = """
import httpx, openai, sys
base, ca = sys.argv[1:3]
for http2 in (False, True):
    transport = httpx.Client(verify=ca, http2=http2)
    client = openai.OpenAI(base_url=base + "/v1", api_key="none", http_client=transport, max_retries=0)
    ask = dict(model="sim-small", messages=[dict(role="user", content="hello")])
    whole = client.chat.completions.with_raw_response.create(**ask)
    version = whole.http_response.http_version
    assert version == ("HTTP/2" if http2 else "HTTP/1.1"), version
    assert "[simulated]" in whole.parse().choices[0].message.content
    words = [c.choices[0].delta.content or "" for c in client.chat.completions.create(stream=True, **ask) if c.choices]
    assert "[simulated]" in "".join(words), words
    print(version)
"""


PACKAGES = ["openai==3.54.0", "httpx[http2]"]


def sdk():
    """The Python of an environment with the SDK and a client that speaks HTTP/2."""
    venv = CACHE / "front"
    stamp, wanted = venv / "installed.txt", "\n".join(PACKAGES)
    with alone(CACHE):
        if not (stamp.exists() and stamp.read_text() == wanted):
            run([sys.executable, "-m", "venv", "--clear", str(venv)])
            run([str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES])
            stamp.write_text(wanted)
    return str(venv / "bin" / "python")


class Front:
    def __init__(self, args, folder):
        self.args, self.folder, self.failed, self.children = args, Path(folder), 0, []

    def that(self, what, good, detail=""):
        say("PASS" if good else "FAIL", what if good else f"{what}: {detail}")
        self.failed += not good

    def flyball(self, name, toml, listen="127.0.0.1:0", env=None):
        """Starts one; gives its address and that of its admin listener."""
        home = self.folder / name
        home.mkdir()
        for file in self.folder.glob("*.pem"):
            (home / file.name).write_bytes(file.read_bytes())
        (home / "flyball.toml").write_text(toml)
        command = [self.args.flyball, "serve", "--listen", listen, "--admin-listen", "127.0.0.1:0"]
        command += ["--config", str(home / "flyball.toml"), "--data-dir", str(home / "data")]
        child = Child(name, command, home / "log", env or {})
        self.children.append(child)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if found := LISTENS.search(child.log.read_text(errors="replace")):
                return found.groups()
            child.must_run("before it listened", 0.05)
        raise Failed(f"{name} did not say where it listens:\n{child.tail()}")

    def curl(self, url, *more, body=ASK):
        """The version that was spoken, the status, and the body."""
        command = ["curl", "-sS", "--max-time", "30", "-w", "\n%{http_version} %{http_code}", "-d", body]
        command += ["-H", "content-type: application/json", *more, url + "/v1/chat/completions"]
        done = subprocess.run(command, text=True, capture_output=True)
        text, _, told = done.stdout.rpartition("\n")
        return told, text + done.stderr

    def curls(self, what, url, *more):
        for flag, version in (("--http1.1", "1.1"), (None, "2")):
            flag = flag or ("--http2" if url.startswith("https") else "--http2-prior-knowledge")
            for body, sign in ((ASK, "[simulated]"), (STREAM, "[DONE]")):
                told, text = self.curl(url, flag, *more, body=body)
                good = told == f"{version} 200" and sign in text
                self.that(f"curl {flag} {what}, {'stream' if body is STREAM else 'whole'}", good, f"{told} {text[:300]}")

    def openssl(self, url, ca):
        at = url.removeprefix("https://")
        for version in ("-tls1_2", "-tls1_3"):
            for offers, agreed in (("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")):
                command = ["openssl", "s_client", "-connect", at, version, "-alpn", offers, "-CAfile", ca]
                done = subprocess.run([*command, "-verify_return_error"], input="", text=True, capture_output=True)
                good = f"ALPN protocol: {agreed}" in done.stdout and "Verify return code: 0" in done.stdout
                self.that(f"openssl s_client {version} -alpn {offers}", good, done.stdout[-600:] + done.stderr[-300:])
        old = subprocess.run(["openssl", "s_client", "-connect", at, "-tls1_1"], input="", text=True, capture_output=True)
        self.that("TLS 1.1 is not spoken", old.returncode != 0, old.stdout[-300:])

    def h2load(self, what, url, *more):
        body = self.folder / "ask.json"
        body.write_text(ASK)
        command = ["h2load", "-n", "600", "-c", "6", "-m", "20", "-d", str(body), "-H", "content-type: application/json"]
        done = run([*command, *more, url + "/v1/chat/completions"])
        told = re.search(r"requests: .*", done)
        line = told.group(0) if told else "nothing"
        self.that(f"h2load {what}: 600 requests, 20 at once on each of 6 connections", "600 succeeded" in line, line)

    def behind(self, url, ca):
        """A provider over TLS, which offers HTTP/2."""
        provider = f'[[provider]]\nname = "far"\nkind = "openai-compatible"\nbase_url = "{url}"\n'
        model = '[[model]]\nname = "sim-small"\nprovider = "far"\ntier = "small"\nefforts = []\n'
        for way, agreed in (("auto", 200), ("always", 200), ("never", 200)):
            toml = f'{provider}http2 = "{way}"\n{model}input_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n'
            at, _ = self.flyball(f"before-{way}", toml, env={"SSL_CERT_FILE": ca})
            told, text = self.curl(at, "--http1.1")
            self.that(f'a provider over TLS with http2 = "{way}"', told == f"1.1 {agreed}" and "[simulated]" in text, f"{told} {text[:300]}")

    def certificates(self):
        """An authority, and a certificate of its own making for this machine's names; gives the authority's file."""
        file = lambda name: str(self.folder / name)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run(["openssl", "req", "-x509", *key, "-days", "2", "-subj", "/CN=tests", "-keyout", file("ca.key"), "-out", file("ca.pem")])
        run(["openssl", "req", *key, "-subj", "/CN=localhost", "-keyout", file("key.pem"), "-out", file("csr")])
        (self.folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        run(["openssl", "x509", "-req", "-in", file("csr"), "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial",
             "-days", "2", "-extfile", file("names"), "-out", file("cert.pem")])
        return file("ca.pem")

    def main(self):
        ca = self.certificates()
        plain, admin = self.flyball("plain", SIMULATED)
        secure, _ = self.flyball("secure", SIMULATED + TLS + "admin = true\n")
        self.curls("without TLS", plain)
        self.curls("over TLS", secure, "--cacert", ca)
        path = self.folder / "t.sock"
        self.flyball("socket", SIMULATED, listen=f"unix:{path}")
        self.curls("over a unix socket", "http://localhost", "--unix-socket", str(path))
        self.openssl(secure, ca)
        self.h2load("without TLS", plain)
        self.h2load("over TLS", secure)
        self.h2load("over TLS with HTTP/1.1", secure, "--h1")
        self.behind(secure, ca)
        python = sdk()
        done = subprocess.run([python, "-c", SDK, secure, ca], text=True, capture_output=True)
        self.that(f"the OpenAI SDK over TLS: {' and '.join(done.stdout.split())}", done.returncode == 0 and done.stdout, done.stderr[-600:])
        with urllib.request.urlopen(f"{admin}/healthz") as answer:
            self.that("the admin listener is healthy after all that", answer.status == 200)
        for child in self.children:
            self.that(f"{child.name} stops", child.stop(), child.tail())
        return 1 if self.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flyball", default="target/debug/flyball")
    args = parser.parse_args()
    args.flyball = str(Path(args.flyball).absolute())
    with tempfile.TemporaryDirectory() as folder:
        front = Front(args, folder)
        try:
            return front.main()
        except Failed as failed:
            say("FAIL", str(failed))
            return 1
        finally:
            for child in front.children:
                child.stop()


if __name__ == "__main__":
    sys.exit(main())
