#!/usr/bin/env python3
"""Official SDKs -> flyball -> a real llama.cpp that answers first, and a scripted vendor that answers where it is unsure.

flyball looks at the real log-probabilities of the local model's answers. Every SDK asks questions that are easy and
hard for it, whole and streamed, and with a tool that must be called; each client must see one clean answer, and the
ledger must tell every attempt with what it has shown. Prints PASS and FAIL lines.

    tests/e2e/probing.py --flyball target/debug/flyball
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import defaultdict
from http.server import ThreadingHTTPServer
from pathlib import Path

import dialects
from dialects import FORCED, WORDS, Vendor, installed, with_anthropic, with_google, with_openai_chat
from llama import ANY_PORT, LLAMA_KEY, MODEL, ROOT, Child, Failed, NoServer, install, model_server, say, skipped

CLIENTS = {"openai": with_openai_chat, "anthropic": with_anthropic, "google-genai": with_google}
# The two are taken to be about as able: a model as small as this one is so unsure that nothing of it would stand otherwise.
QUESTIONS = [
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,",
    "Say the alphabet: A B C D E F G H I J K",
    "In which year was the third bridge over the river Prut built? Reply with the year only.",
    "Which four-digit number am I thinking of? Reply with the number only.",
    "Name a town.",
]
CONFIG = """\
probe = "pays"
objective = "cheap"

[[provider]]
name = "llama"
kind = "llamacpp"
base_url = "{llama}"
api_key = "env:LLAMA_KEY"

[[model]]
name = "{model}"
provider = "llama"
tier = "small"
efforts = []
ability = 2.0

[[provider]]
name = "vendor"
kind = "openai-compatible"
base_url = "{vendor}"

[[model]]
name = "m-strong"
provider = "vendor"
tier = "reasoning"
efforts = ["none"]
ability = 2.2
input_usd_per_mtok = 10
output_usd_per_mtok = 100
"""
RULE = """\
[[rule]]
name = "strong"
why = "Everything would go to the vendor's model."
route = { arm = "m-strong@none" }
"""


def asked(base):
    good = True
    for name, ask in CLIENTS.items():
        for question in QUESTIONS:
            dialects.ASK = question
            for tool in (False, FORCED) if question is QUESTIONS[-1] else (False,):
                for stream in (False, True):
                    what = f"{name}: {question}{' (tool)' if tool else ''}{' (streamed)' if stream else ''}"
                    try:
                        got = ask(base, "auto", tool, stream, limit=28)
                        good &= clean(what, got, tool)
                    except Exception:
                        say("FAIL", f"{what}: {traceback.format_exc(limit=3)}")
                        good = False
    return good


def clean(what, got, tool):
    _, words, args, used_in, used_out = got
    words = words or ""
    said = isinstance(args, dict) if tool else bool(words)
    # Never a part of one answer and a part of the other.
    one = WORDS not in words or words == WORDS
    fine = said and one and "logprob" not in words and used_in > 0 and used_out > 0
    say("PASS" if fine else "FAIL", f"{what} -> {(args or words)!r:.60}" if fine else f"{what}: {got}")
    return fine


def told(flyball, data):
    export = [flyball, "ledger", "export", "--jsonl", "--data-dir", data]
    rows = [json.loads(line) for line in subprocess.run(export, text=True, capture_output=True, check=True).stdout.splitlines()]
    attempts = defaultdict(list)
    for row in rows:
        attempts[row["request"]].append(row)
    wrong, outcomes, signs = [], defaultdict(int), defaultdict(int)
    for request, tried in attempts.items():
        first = [row for row in tried if row["model"] == MODEL and row["rule"] != "check"]
        strong = [row for row in tried if row["model"] == "m-strong"]
        # llama.cpp tells no probabilities of a stream with tools, and says so once.
        if len(first) == 1 and first[0]["outcome"] == "refused_upstream" and strong:
            outcomes["refused"] += 1
            continue
        if not first and strong and strong[0]["escalated_from"] is None:
            outcomes["not probed"] += 1
            continue
        if len(first) != 1 or len(strong) > 1 or first[0]["evidence"] is None:
            wrong.append(tried)
            continue
        outcomes["escalated" if strong else "stands"] += 1
        signs[first[0]["evidence"]] += 1
        if strong and (first[0]["outcome"], strong[0]["escalated_from"]) != ("escalated", first[0]["attempt"]):
            wrong.append(tried)
    # Only streams with tools are not probed after that.
    good = not wrong and outcomes["stands"] > 0 and outcomes["escalated"] > 0 and outcomes["refused"] + outcomes["not probed"] == len(CLIENTS)
    real = signs["answer"] + signs["tokens"] > 0
    what = f"ledger: {dict(outcomes)}, evidence {dict(signs)}"
    say("PASS" if good and real else "FAIL", what if good and real else f"{what}: {wrong[:2]}")
    return good and real


def round_of(flyball, llama, vendor, folder):
    (folder / "rules").mkdir()
    (folder / "rules" / "strong.toml").write_text(RULE)
    file, data = folder / "flyball.toml", str(folder / "data")
    file.write_text(CONFIG.format(model=MODEL, llama=llama, vendor=vendor))
    command = [flyball, "serve", "--config", str(file), "--data-dir", data]
    server = Child("flyball", command, folder / "flyball.log", {"LLAMA_KEY": LLAMA_KEY, **ANY_PORT})
    try:
        base, _ = server.listening()
        good = asked(base)
    finally:
        server.stop()
    good &= told(flyball, data)
    learned = subprocess.run([flyball, "learn", "status", "--json", "--data-dir", data], text=True, capture_output=True, check=True)
    kept = bool(json.loads(learned.stdout))
    say("PASS" if kept else "FAIL", f"learned: {learned.stdout.strip()}")
    if not (good and kept):
        print(f"--- the end of flyball's log\n{server.tail()}", flush=True)
    return good and kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", str(ROOT / "target/debug/flyball")))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    python = installed()
    if Path(sys.executable).resolve() != python.resolve() or sys.prefix != str(python.parent.parent):
        os.execv(str(python), [str(python), *sys.argv])
    vendor = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{vendor.server_port}"
    with tempfile.TemporaryDirectory(prefix="flyball-probing-") as folder, contextlib.ExitStack() as servers:
        try:
            llama = servers.enter_context(model_server(install(), folder, ["--temp", "0"]))
        except NoServer as why:
            return 0 if skipped(why) else 1
        return 0 if round_of(str(Path(options.flyball).resolve()), llama, url, Path(folder)) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError) as why:
        say("FAIL", why)
        sys.exit(1)
