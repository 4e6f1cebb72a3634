#!/usr/bin/env python3
"""Official SDKs -> flyball -> what providers have besides completions: embeddings, token counts, files, batches, /p/.

A scripted vendor (in this process) answers in the shapes of OpenAI, Anthropic, Gemini and Ollama; flyball has one provider of
each kind. Every SDK's own calls must see what the vendor said, and the vendor must see flyball's key and never the app's.
Prints PASS and FAIL lines; the exit status is 0 only if all passed.

    tests/e2e/endpoints.py --flyball target/debug/flyball
"""

import argparse
import base64
import json
import os
import struct
import sys
import tempfile
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dialects import installed
from llama import ANY_PORT, ROOT, Child, Failed, say

KINDS = {"e-openai": "openai", "e-ollama": "ollama", "e-gemini": "gemini", "claude-x": "anthropic"}
CONFIG = """\
[[provider]]
name = "{kind}"
kind = "{kind}"
base_url = "{url}"
api_key = "env:UP_KEY"

[[model]]
name = "{name}"
provider = "{kind}"
tier = "standard"
input_usd_per_mtok = 1
output_usd_per_mtok = 10

"""
VECTORS = [[0.25, -1.5, 3.0], [0.5, 0.125, -2.0]]
seen = []


def embeddings(path, body):
    vectors = VECTORS[: len(body.get("input") or body["requests"])]
    if path == "/api/embed":
        return {"model": "up", "embeddings": vectors, "prompt_eval_count": 7}
    if "EmbedContents" in path:
        return {"embeddings": [{"values": v} for v in vectors]}
    pack = lambda v: base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() if body.get("encoding_format") == "base64" else v
    data = [{"object": "embedding", "index": i, "embedding": pack(v)} for i, v in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "up", "usage": {"prompt_tokens": 7, "total_tokens": 7}}


def batch(state):
    counts = {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0}
    ended = state == "ended"
    return {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": state,
        "request_counts": counts,
        "created_at": "2026-11-25T00:00:00Z",
        "expires_at": "2026-11-26T00:00:00Z",
        "ended_at": "2026-11-25T00:01:00Z" if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results" if ended else None,
    }


MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "four"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
FILE = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "b.jsonl", "purpose": "batch", "status": "processed"}
OPENAI_BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "completed",
    "created_at": 1,
    "output_file_id": "file-2",
}


class Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        length = self.headers["content-length"]
        raw = self.rfile.read(int(length)) if length else b""
        path = self.path.split("?")[0]
        seen.append((self.command, path, dict(self.headers), raw))
        body = json.loads(raw) if raw[:1] == b"{" else {}
        line = json.dumps({"custom_id": "1", "result": {"type": "succeeded", "message": MESSAGE}}) + "\n"
        said = {
            ("POST", "/v1/messages/count_tokens"): {"input_tokens": 14},
            ("POST", "/v1/messages/batches"): batch("in_progress"),
            ("GET", "/v1/messages/batches/msgbatch_1"): batch("ended"),
            ("GET", "/v1/messages/batches/msgbatch_1/results"): line,
            ("POST", "/v1/messages"): MESSAGE,
            ("POST", "/v1/files"): FILE,
            ("GET", "/v1/files/file-2/content"): line,
            ("POST", "/v1/batches"): OPENAI_BATCH,
            ("GET", "/v1/batches/batch_1"): OPENAI_BATCH,
            ("GET", "/v1/models"): {"object": "list", "data": [{"id": "up-model", "object": "model", "created": 1, "owned_by": "up"}]},
        }.get((self.command, path))
        if said is None:
            said = {"totalTokens": 9} if path.endswith(":countTokens") else embeddings(path, body)
        out = (said if isinstance(said, str) else json.dumps(said)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/x-jsonl" if isinstance(said, str) else "application/json")
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    do_GET = do_POST = do_DELETE = answer


def openai_client(base, path="/v1"):
    import openai

    return openai.OpenAI(base_url=f"{base}{path}", api_key="app-key", max_retries=0)


def anthropic_client(base):
    import anthropic

    return anthropic.Anthropic(base_url=base, api_key="app-key", max_retries=0)


def google_client(base):
    from google import genai

    return genai.Client(api_key="app-key", http_options={"base_url": base})


def openai_embeds(base, model):
    got = openai_client(base).embeddings.create(model=model, input=["a", "b"])
    return [d.embedding for d in got.data]


def ollama_embeds(base, model):
    import ollama

    return [list(v) for v in ollama.Client(host=base).embed(model=model, input=["a", "b"]).embeddings]


def google_embeds(base, model):
    # It closes with the last name that it has.
    client = google_client(base)
    got = client.models.embed_content(model=model, contents=["a", "b"])
    return [e.values for e in got.embeddings]


def anthropic_counts(base):
    ask = [{"role": "user", "content": "hi"}]
    return anthropic_client(base).messages.count_tokens(model="claude-x", messages=ask).input_tokens


def google_counts(base):
    client = google_client(base)
    return client.models.count_tokens(model="e-gemini", contents="hi").total_tokens


def openai_files(base):
    client = openai_client(base)
    file = client.files.create(file=("b.jsonl", b"{}\n"), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    done = client.batches.retrieve(made.id)
    return file.id, done.status, json.loads(client.files.content(done.output_file_id).text)["custom_id"]


def anthropic_batches(base):
    client = anthropic_client(base)
    params = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "2+2?"}]}
    made = client.messages.batches.create(requests=[{"custom_id": "1", "params": params}])
    results = list(client.messages.batches.results(made.id))
    return results[0].custom_id, results[0].result.message.content[0].text


def passed_through(base):
    models = [m.id for m in openai_client(base, "/p/openai/v1").models.list()]
    ask = [{"role": "user", "content": "hi"}]
    said = anthropic_client(f"{base}/p/anthropic").messages.create(model="claude-x", max_tokens=5, messages=ask)
    return models, said.content[0].text


def checks():
    for client in (openai_embeds, ollama_embeds, google_embeds):
        for model in ("e-openai", "e-ollama", "e-gemini"):
            # For a Gemini (but gemini-embedding-001) Google's SDK makes one content of two texts, and so asks for one vector.
            expected = VECTORS[:1] if client is google_embeds and "gemini" in model else VECTORS
            yield f"{client.__name__} of {model}", lambda base, c=client, m=model: c(base, m), expected
    yield "anthropic count_tokens", anthropic_counts, 14
    yield "google count_tokens", google_counts, 9
    yield "openai files and batches", openai_files, ("file-1", "completed", "1")
    yield "anthropic batches and their results", anthropic_batches, ("1", "four")
    yield "/p/ with two SDKs", passed_through, (["up-model"], "four")


def all_checks(base):
    good = True
    for what, call, expected in checks():
        seen.clear()
        try:
            got = call(base)
            leaked = [path for _, path, headers, raw in seen if "app-key" in str(headers) or b"app-key" in raw]
            keyless = [path for _, path, headers, _ in seen if "up-key" not in str(headers)]
            fine = got == expected and seen and not leaked and not keyless
            say("PASS" if fine else "FAIL", what if fine else f"{what}: {got} is not {expected}; app's key at {leaked}, none at {keyless}")
        except Exception:
            say("FAIL", f"{what}: {traceback.format_exc(limit=4)}")
            fine = False
        good &= bool(fine)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", str(ROOT / "target/debug/flyball")))
    options = parser.parse_args()
    python = installed()
    if Path(sys.executable).resolve() != python.resolve() or sys.prefix != str(python.parent.parent):
        os.execv(str(python), [str(python), *sys.argv])
    vendor = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{vendor.server_port}"
    with tempfile.TemporaryDirectory(prefix="flyball-endpoints-") as folder:
        file = Path(folder) / "flyball.toml"
        file.write_text("[batch]\nkeep = false\n" + "".join(CONFIG.format(name=name, kind=kind, url=url) for name, kind in KINDS.items()))
        env = {"UP_KEY": "up-key", **ANY_PORT}
        command = [str(Path(options.flyball).resolve()), "serve", "--config", str(file), "--data-dir", str(Path(folder) / "data")]
        server = Child("flyball", command, Path(folder) / "flyball.log", env)
        try:
            listen, _ = server.listening()
            good = all_checks(listen)
        finally:
            server.stop()
        if not good:
            print(f"--- the end of flyball's log\n{server.tail()}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError) as why:
        say("FAIL", why)
        sys.exit(1)
