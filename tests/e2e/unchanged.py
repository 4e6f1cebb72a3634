#!/usr/bin/env python3
"""An unchanged script of the official SDKs (app.py), with real model names, in front of flyball.

It runs three times against a provider on this machine that keeps every byte it is sent: straight, through flyball,
and through flyball with --intercept '*'. Through flyball the same bytes must arrive and the script must read the same;
intercepted, easy prompts must go to the cheap model without thinking, hard ones not, and money must be saved. Prints PASS and FAIL
lines; the exit status is 0 only if all passed.

    tests/e2e/unchanged.py --flyball target/debug/flyball
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llama import ANY_PORT, HERE, ROOT, Child, Failed, install, run, say

CONFIG = """\
[[provider]]
name = "openai"
kind = "openai"
base_url = "{url}/v1"
api_key = "env:PROVIDER_KEY"

[[provider]]
name = "anthropic"
kind = "anthropic"
base_url = "{url}"
api_key = "env:PROVIDER_KEY"

[[model]]
name = "gpt-5-nano"
provider = "openai"
tier = "small"

[[model]]
name = "gpt-5.2"
provider = "openai"
tier = "reasoning"

[[model]]
name = "claude-haiku-4-5"
provider = "anthropic"
tier = "small"

[[model]]
name = "claude-opus-5-5"
provider = "anthropic"
tier = "reasoning"
"""
PROVIDER_KEY = "sk-provider-e2e"
APP_KEY = "sk-app-e2e"
# The bytes of a request belong to the app; these heads belong to the connection or to flyball.
NOT_COMPARED = {"host", "authorization", "x-api-key", "accept-encoding", "connection", "content-length"}


def chat(model, stream):
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    head = {"id": "c1", "created": 1, "model": model}
    if not stream:
        message = {"role": "assistant", "content": "Paris."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    events = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Paris."}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    lines = [json.dumps({**head, "object": "chat.completion.chunk", **event}) for event in events]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])


def message(model, stream):
    usage = {"input_tokens": 20, "output_tokens": 10}
    whole = {"id": "m1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
    if not stream:
        return json.dumps({**whole, "content": [{"type": "text", "text": "Paris."}], "stop_reason": "end_turn", "usage": usage})
    events = [
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Paris."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


class Provider(BaseHTTPRequestHandler):
    """Answers both dialects, and keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    seen = []

    def do_POST(self):  # noqa: N802, the name is given
        body = self.rfile.read(int(self.headers["content-length"]))
        Provider.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        asked = json.loads(body)
        stream = asked.get("stream", False)
        answers = {"/v1/chat/completions": chat, "/v1/messages": message}
        if self.path not in answers:
            return self.send_error(404)
        answer = answers[self.path](asked["model"], stream).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if stream else "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def app(python, base):
    """Runs the script; gives what it printed and what the provider was sent."""
    Provider.seen.clear()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    env |= {"OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_BASE_URL": base, "OPENAI_API_KEY": APP_KEY, "ANTHROPIC_API_KEY": APP_KEY}
    said = run([python, str(HERE / "app.py")], env=env, timeout=120)
    return said, list(Provider.seen)


def through_flyball(flyball, python, url, folder, flags):
    """The same through a flyball of its own; also its ledger."""
    folder.mkdir()
    config = folder / "flyball.toml"
    config.write_text(CONFIG.format(url=url))
    data = str(folder / "data")
    command = [flyball, "serve", "--config", str(config), "--data-dir", data, *flags]
    server = Child("flyball", command, folder / "flyball.log", {"PROVIDER_KEY": PROVIDER_KEY, **ANY_PORT})
    try:
        listen, _ = server.listening()
        said, seen = app(python, listen)
    finally:
        server.stop()
    rows = run([flyball, "ledger", "export", "--jsonl", "--data-dir", data])
    return said, seen, [json.loads(line) for line in rows.splitlines()]


def same(what, got, expected):
    say("PASS" if got == expected else "FAIL", what if got == expected else f"{what}:\n  {got}\n  is not\n  {expected}")
    return got == expected


def untouched(straight, through):
    """Nothing of the app's own may change on the way."""
    own = [[(k, v) for k, v in sorted(heads.items()) if k not in NOT_COMPARED] for _, heads, _ in straight]
    sent = [[(k, v) for k, v in sorted(heads.items()) if k not in NOT_COMPARED] for _, heads, _ in through]
    keys = {heads.get("authorization", heads.get("x-api-key")) for _, heads, _ in through}
    return [
        same("as asked: the bytes of every request", [(p, b) for p, _, b in through], [(p, b) for p, _, b in straight]),
        same("as asked: the app's own headers", sent, own),
        same("as asked: the app's key stays here", keys, {f"Bearer {PROVIDER_KEY}", PROVIDER_KEY}),
    ]


def routed(straight, through, rows):
    """Easy prompts go to the cheap model without thinking, the hard ones do not, and the sum is smaller."""
    arms = [f'{json.loads(body)["model"]}@{row["effort"]}' for (_, _, body), row in zip(through, rows)]
    hard = ["irrational" in body.decode() for _, _, body in straight]
    # gpt-5-nano cannot leave thinking out altogether.
    small = [arm in ("gpt-5-nano@minimal", "claude-haiku-4-5@none") for arm in arms]
    cost, baseline = (sum(row[name] for row in rows) for name in ("cost_pico_usd", "baseline_pico_usd"))
    saved = baseline - cost
    say("PASS" if saved > 0 else "FAIL", f"intercepted: ${saved / 1e12:.6f} of ${baseline / 1e12:.6f} saved")
    return [
        same(f"intercepted: easy prompts to a small model without thinking, hard ones not ({', '.join(arms)})", small, [not h for h in hard]),
        same("intercepted: one row a request", len(rows), len(straight)),
        saved > 0,
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", str(ROOT / "target/debug/flyball")))
    flyball = str(Path(parser.parse_args().flyball).resolve())
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{provider.server_port}"
    try:
        python = install()
        with tempfile.TemporaryDirectory(prefix="flyball-e2e-") as folder:
            said, straight = app(python, url)
            results = [same("straight: the script runs", (len(said.splitlines()), len(straight)), (8, 8))]
            heard, through, _ = through_flyball(flyball, python, url, Path(folder) / "asked", [])
            results += [same("as asked: the script reads the same", heard, said), *untouched(straight, through)]
            heard, through, rows = through_flyball(flyball, python, url, Path(folder) / "all", ["--intercept", "*"])
            results += [same("intercepted: the script reads the same", heard, said), *routed(straight, through, rows)]
    except (Failed, OSError, subprocess.TimeoutExpired) as why:
        say("FAIL", why)
        return 1
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
