#!/usr/bin/env python3
"""A vendor that tells its rate limits, and mixed traffic of three teams and five keys, for boards.sh and alerts.py.

    mixed.py vendor                                      says its address, then answers until it is stopped
    mixed.py traffic --against URL --keys FILE           FILE: one "name secret" a line; prints what came of the requests
"""

import argparse
import collections
import concurrent.futures
import contextlib
import http.server
import itertools
import json
import math
import pathlib
import random
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Name, team, and what `flyball key create` is told besides.
KEYS = [
    ("lab", "research", []),
    ("notebooks", "research", ["--cap", "0.1usd/total"]),
    ("app", "product", ["--require-tags", "feature=search|chat"]),
    ("search", "product", ["--tags", "feature=search", "--cap", "2usd/day"]),
    ("helpdesk", "support", []),
]


class Vendor(http.server.ThreadingHTTPServer):
    """Speaks OpenAI Chat Completions. `mode`: "well", "broken" (500), "greedy" (far more tokens than were allowed),
    "wordless" (answers of its small model are empty) or "moody" (500 to every fifteenth)."""

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Answering)
        self.mode, self.calls, self.left, self.callers = "well", 0, 1000, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def away(self):
        """Nobody listens there any more, and who was connected is not; the port to come back to."""
        port = self.server_address[1]
        self.shutdown()
        self.server_close()
        for caller in self.callers:
            with contextlib.suppress(OSError):
                caller.shutdown(socket.SHUT_RDWR)
        return port

    def get_request(self):
        caller, address = super().get_request()
        self.callers.append(caller)
        return caller, address


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        vendor = self.server
        vendor.calls, vendor.left = vendor.calls + 1, max(200, vendor.left - 7)
        if vendor.mode == "broken" or (vendor.mode == "moody" and vendor.calls % 15 == 0):
            return self.say(500, {"error": {"message": "the vendor is broken", "type": "server_error"}})
        if self.path.endswith("/responses"):
            return self.say(200, self.job("queued", None))
        most = body.get("max_tokens") or body.get("max_completion_tokens") or 200
        answer = most * 50 if vendor.mode == "greedy" else min(most, 40)
        usage = {"prompt_tokens": 30, "completion_tokens": answer, "total_tokens": 30 + answer}
        words = "" if vendor.mode == "wordless" and body.get("model") == "vendor-7b" else "As you wish. " * 10
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": words}}
        self.say(200, {"id": "c1", "object": "chat.completion", "created": 1, "model": body.get("model"), "choices": [choice], "usage": usage})

    def do_GET(self):
        self.say(200, self.job("completed", {"input_tokens": 100, "output_tokens": 200, "total_tokens": 300}))

    def job(self, status, usage):
        return {"id": "resp_1", "object": "response", "status": status, "background": True, "model": "jobs-1", "output": [], "usage": usage, "error": None}

    def say(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        left = self.server.left
        limits = {"x-ratelimit-limit-requests": 1000, "x-ratelimit-remaining-requests": left, "x-ratelimit-limit-tokens": 90000, "x-ratelimit-remaining-tokens": left * 60}
        for name, value in {"content-type": "application/json", "content-length": len(text), **limits}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(text)


def ask(url, key, body, headers=None, path="/v1/chat/completions"):
    """The status and the answer's text; a stream is read to its end."""
    sent = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), sent)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(errors="replace")


def chat(model, prompt, **more):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def prompts():
    lines = (ROOT / "src/data/demo_prompts.jsonl").read_text().splitlines()
    return [json.loads(line)["prompt"] for line in lines]


def one(url, keys, prompt, number):
    """Request `number`: the dearest users ask most, one in three is a stream, some are conversations, some are wrong."""
    name = random.choices([name for name, _, _ in KEYS], weights=[35, 15, 25, 15, 10])[0]
    headers = {"x-flyball-tags": f"feature={random.choice(['search', 'chat', 'chat'])}"} if name == "app" else {}
    key, kind = keys[name], number % 20
    if kind == 3:
        return ask(url, key, chat("vendor-7b", prompt, max_tokens=100), headers)
    if kind == 7:
        return ask(url, key, chat("sim-reasoning", prompt), headers)
    if kind == 11:
        return ask(url, "fb_nobody", chat("auto", prompt))
    if kind == 13:
        return ask(url, keys["search"], chat("gpt-unpriced", prompt))
    if kind == 14:
        return ask(url, key, chat("auto", f"{prompt} Take the card 4242 4242 4242 4242 for {random.choice(['Projekt Halde', 'it'])}."), headers)
    if kind in (5, 9, 15):
        return conversation(url, key, prompt, headers)
    if kind == 17:
        sent = {"anthropic-version": "2023-06-01", **headers}
        return ask(url, key, chat("auto", prompt, max_tokens=2000), sent, "/v1/messages")
    if kind == 19:
        return ask(url, key, chat("auto", "Here is a report. " + "The tram was late and nobody said why. " * 400 + prompt, stream=True), headers)
    return ask(url, key, chat(random.choice(["auto", "auto", "auto:best", "auto:cheap"]), prompt, stream=number % 3 == 0), headers)


def conversation(url, key, prompt, headers):
    turns = [{"role": "user", "content": prompt}]
    for question in ("And why is that so?", "Prove it, step by step, for every n.", "Thanks. In one word?"):
        status, answer = ask(url, key, {"model": "auto", "messages": turns}, headers)
        if status != 200:
            return status, answer
        turns += [json.loads(answer)["choices"][0]["message"], {"role": "user", "content": question}]
    return status, answer


def traffic(url, keys, seconds, rate, seed):
    """`rate` requests a second, in waves; what came of them, by status."""
    random.seed(seed)
    said, texts, began = collections.Counter(), {}, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        waiting = []
        for number, prompt in enumerate(itertools.cycle(random.sample(prompts(), 120))):
            gone = time.monotonic() - began
            if gone > seconds:
                break
            waiting.append(pool.submit(one, url, keys, prompt, number))
            time.sleep(1 / (rate * (1 + 0.7 * math.sin(6.28 * gone / (seconds / 2)))))
        for future in waiting:
            status, text = future.result()
            said[status] += 1
            texts.setdefault(status, text[:200])
    return said, texts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["vendor", "traffic", "keys"])
    parser.add_argument("--against")
    parser.add_argument("--keys")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=5)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--any", action="store_true", help="whatever the answers are")
    args = parser.parse_args()
    if args.what == "keys":
        for name, team, more in KEYS:
            print("\t".join([name, team, *more]))
    elif args.what == "vendor":
        vendor = Vendor()
        vendor.mode = "moody"
        print(vendor.address, flush=True)
        threading.Event().wait()
    else:
        keys = dict(line.split() for line in pathlib.Path(args.keys).read_text().splitlines())
        said, texts = traffic(args.against, keys, args.seconds, args.rate, args.seed)
        print(json.dumps({"statuses": said, "first": texts}, indent=1))
        # A mixture that lacks one of these would leave panels empty.
        missing = {200, 400, 401, 402} - set(said)
        if missing and not args.any:
            sys.exit(f"no request was answered with {missing}")


if __name__ == "__main__":
    main()
