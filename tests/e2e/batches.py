#!/usr/bin/env python3
"""Official SDKs -> flyball -> batches: 1,000 mixed lines by the OpenAI SDK, and as many by Anthropic's, from Python and from JavaScript, over
scripted providers of three batch dialects (OpenAI, Anthropic, Gemini) and one without.

The vendors give results out of order and fail every fiftieth line. Every custom id must come back once, what was answered must cost half
the standard price to the pico-dollar, and the cap of the key must have counted just that. Single requests that wait share batches as well, and
answers are made in the background.

    tests/e2e/batches.py --flyball target/debug/flyball

With `--memory LINES` it hands in one file of so many short lines for the model of the first provider instead, which answers at once, and says
by how much flyball's memory has grown at the most.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dialects import installed, js_folder
from llama import ANY_PORT, ROOT, Child, say

LINES = 1000
INPUT, OUTPUT = 100, 40
# Pico-dollars a token, input and output, at the batch price of the catalogue, and at the price below of the model without batches.
PRICES = {"gpt-4o-mini": (75_000, 300_000), "claude-haiku-4-5": (500_000, 2_500_000), "gemini-2.5-flash": (150_000, 1_250_000), "m-alone": (1_000_000, 10_000_000)}
CONFIG = """\
[batch]
poll = "50ms"
concurrency = 16
wait_from = "1s"
collect = "100ms"

[[provider]]
name = "o"
kind = "openai"
base_url = "{url}"
api_key = "env:UP_KEY"

[[provider]]
name = "a"
kind = "anthropic"
base_url = "{url}"
api_key = "env:UP_KEY"

[[provider]]
name = "g"
kind = "gemini"
base_url = "{url}"
api_key = "env:UP_KEY"

[[provider]]
name = "up"
kind = "openai-compatible"
base_url = "{url}"

[[model]]
name = "gpt-4o-mini"
provider = "o"
tier = "small"

[[model]]
name = "claude-haiku-4-5"
provider = "a"
tier = "standard"

[[model]]
name = "gemini-2.5-flash"
provider = "g"
tier = "standard"

[[model]]
name = "m-alone"
provider = "up"
tier = "small"
efforts = []
context_tokens = 100000
answer_tokens_max = 4000
input_usd_per_mtok = 1
output_usd_per_mtok = 10
"""
MODELS = list(PRICES)
lock = threading.Lock()
files, made, sent, asked_alone = {}, {}, [], []


def text_of(body):
    if "contents" in body:
        return body["contents"][-1]["parts"][-1]["text"]
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def answered(body, dialect):
    text = f"echo {text_of(body)}"
    if dialect == "anthropic":
        usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "batch"}
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    if dialect == "gemini":
        usage = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT}
        return {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
    usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [message], "usage": usage, "service_tier": "default"}


def fails(body):
    return int(text_of(body).removeprefix("q")) % 50 == 49


class Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def told(self, value, status=200):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def keep(self, kind, lines, tag):
        with lock:
            name = f"{kind}{len(made)}"
            made[name] = {"kind": kind, "lines": lines, "tag": tag, "looks": 0}
            sent.extend((tag or name, line) for line, _ in lines)
        return name

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.split("?")[0]
        if path == "/v1/files":
            lines = [json.loads(line) for line in body.decode().splitlines() if line.startswith("{")]
            with lock:
                name = f"file-{len(files)}"
                files[name] = lines
            return self.told({"id": name, "object": "file"})
        body = json.loads(body or b"{}")
        if path == "/v1/batches":
            lines = [(line["custom_id"], line["body"]) for line in files[body["input_file_id"]]]
            return self.told(self.openai(self.keep("openai", lines, body["metadata"]["flyball"])))
        if path == "/v1/messages/batches":
            lines = [(line["custom_id"], line["params"]) for line in body["requests"]]
            return self.told(self.anthropic(self.keep("anthropic", lines, None)))
        if path.endswith(":batchGenerateContent"):
            requests = body["batch"]["inputConfig"]["requests"]["requests"]
            lines = [(line["metadata"]["key"], line["request"]) for line in requests]
            return self.told(self.gemini(self.keep("gemini", lines, body["batch"]["displayName"])))
        with lock:
            asked_alone.append(body)
        return self.told(answered(body, "openai"))

    def results(self, name, wanted):
        """The last line first."""
        for line, body in reversed(made[name]["lines"]):
            if fails(body) == wanted:
                yield line, body

    def is_over(self, name):
        made[name]["looks"] += 1
        return made[name]["looks"] > 3

    def openai(self, name):
        over = self.is_over(name)
        status = "completed" if over else "in_progress"
        return {"id": name, "object": "batch", "status": status, "metadata": {"flyball": made[name]["tag"]}, "output_file_id": f"{name}.out" if over else None, "error_file_id": f"{name}.err" if over else None}

    def anthropic(self, name):
        over = self.is_over(name)
        return {"id": name, "type": "message_batch", "processing_status": "ended" if over else "in_progress", "request_counts": {"processing": len(made[name]["lines"])}, "cancel_initiated_at": None, "results_url": None}

    def gemini(self, name):
        over = self.is_over(name)
        state = "BATCH_STATE_SUCCEEDED" if over else "BATCH_STATE_RUNNING"
        told = {"name": f"batches/{name}", "metadata": {"state": state, "displayName": made[name]["tag"]}}
        if over:
            good = [{"response": answered(b, "gemini"), "metadata": {"key": line}} for line, b in self.results(name, False)]
            bad = [{"error": {"code": 3, "message": "no"}, "metadata": {"key": line}} for line, _ in self.results(name, True)]
            told |= {"done": True, "response": {"inlinedResponses": {"inlinedResponses": good + bad}}}
        return told

    def do_GET(self):
        path = self.path.split("?")[0]
        name = path.rsplit("/", 1)[-1]
        if path.endswith("/content"):
            name, kind = path.split("/")[-2].split(".")
            error = {"error": {"message": "no", "type": "invalid_request_error"}}
            line = lambda id, status, body: json.dumps({"custom_id": id, "response": {"status_code": status, "request_id": "r", "body": body}, "error": None})
            if kind == "out":
                rows = [line(id, 200, answered(b, "openai")) for id, b in self.results(name, False)]
            else:
                rows = [line(id, 400, error) for id, _ in self.results(name, True)]
            return self.told("".join(row + "\n" for row in rows).encode())
        if path.endswith("/results"):
            name = path.split("/")[-2]
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
            rows = [{"custom_id": id, "result": {"type": "succeeded", "message": answered(b, "anthropic")}} for id, b in self.results(name, False)]
            rows += [{"custom_id": id, "result": {"type": "errored", "error": error}} for id, _ in self.results(name, True)]
            return self.told("".join(json.dumps(row) + "\n" for row in rows).encode())
        if path.startswith("/v1/batches/"):
            return self.told(self.openai(name))
        if path.startswith("/v1/messages/batches/"):
            return self.told(self.anthropic(name))
        if path.startswith("/v1beta/batches/"):
            return self.told(self.gemini(name))
        return self.told({"data": [], "has_more": False})


def until(look, seconds=120):
    end = time.time() + seconds
    while True:
        value = look()
        if value is not None:
            return value
        if time.time() > end:
            raise TimeoutError("it does not end")
        time.sleep(0.2)


def model(n):
    return MODELS[n % len(MODELS)]


def with_openai(url):
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="fb_app")
    lines = [{"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": model(n), "max_tokens": 60, "messages": [{"role": "user", "content": f"q{n}"}]}} for n in range(LINES)]
    file = client.files.create(file=("in.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"job": "e2e"})
    over = {"completed", "failed", "expired", "cancelled"}
    look = lambda: (lambda b: b if b.status in over else None)(client.batches.retrieve(batch.id))
    batch = until(look)
    assert batch.status == "completed", batch
    assert batch.id in [b.id for b in client.batches.list()]
    told = {}
    for name in (batch.output_file_id, batch.error_file_id):
        for line in client.files.content(name).text.splitlines():
            read = json.loads(line)
            assert read["custom_id"] not in told, read
            told[read["custom_id"]] = read["response"]
    assert len(told) == LINES == batch.request_counts.total
    for n in range(LINES):
        got = told[f"c{n}"]
        if n % 50 == 49 and model(n) != "m-alone":
            assert got["status_code"] >= 400, got
        else:
            assert got["body"]["choices"][0]["message"]["content"] == f"echo q{n}", got
    try:
        client.batches.retrieve("batch_fb0123")
        raise AssertionError("an unknown batch is found")
    except openai.NotFoundError:
        pass


def with_anthropic(url):
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="fb_app")
    requests = [{"custom_id": f"c{n}", "params": {"model": model(n), "max_tokens": 60, "messages": [{"role": "user", "content": f"q{n}"}]}} for n in range(LINES)]
    batch = client.messages.batches.create(requests=requests)
    look = lambda: (lambda b: b if b.processing_status == "ended" else None)(client.messages.batches.retrieve(batch.id))
    batch = until(look)
    told = {}
    for line in client.messages.batches.results(batch.id):
        assert line.custom_id not in told
        told[line.custom_id] = line.result
    assert len(told) == LINES
    for n in range(LINES):
        got = told[f"c{n}"]
        if n % 50 == 49 and model(n) != "m-alone":
            assert got.type == "errored", got
        else:
            assert got.message.content[0].text == f"echo q{n}", got
    try:
        client.messages.batches.create(requests=requests[:1] + requests[:1])
        raise AssertionError("a custom id may stand twice")
    except anthropic.BadRequestError as error:
        assert "duplicate" in str(error), error
    client.messages.batches.delete(batch.id)


WAITS = {"prefer": "respond-async", "x-flyball-deadline": "1m"}


def come_back(client, id):
    path = f"/flyball/requests/{id}/answer"
    look = lambda: (lambda told: told if told.get("object") != "flyball.request" else None)(client.get(path, cast_to=object))
    return until(look)


def one_by_one(url):
    """Requests that wait, by two SDKs, in the batches of three vendors; what has no batches is answered at once."""
    import anthropic
    import openai

    client, other = openai.OpenAI(base_url=f"{url}/v1", api_key="fb_app"), anthropic.Anthropic(base_url=url, api_key="fb_app")
    before = len(made)
    waiting = []
    for n in range(6):
        asked = {"model": model(n), "max_tokens": 60, "messages": [{"role": "user", "content": f"q{n}"}], "extra_headers": WAITS}
        for who, create in ((client, client.chat.completions.with_raw_response.create), (other, other.messages.with_raw_response.create)):
            raw = create(**asked)
            if model(n) == "m-alone":
                assert raw.status_code == 200, raw.http_response.text
                continue
            assert raw.status_code == 202, raw.http_response.text
            waiting.append((who, n, json.loads(raw.http_response.text)["id"]))
    for who, n, id in waiting:
        told = come_back(who, id)
        if who is client:
            answer = openai.types.chat.ChatCompletion.model_validate(told)
            assert answer.choices[0].message.content == f"echo q{n}", told
        else:
            answer = anthropic.types.Message.model_validate(told)
            assert answer.content[0].text == f"echo q{n}", told
    assert len(made) - before <= 6, "those of one model share a batch"
    try:
        client.get("/flyball/requests/0192e7a0-0000-7000-8000-000000000000/answer", cast_to=object)
        raise AssertionError("an unknown request is found")
    except openai.NotFoundError:
        pass


def in_background(url):
    """OpenAI's background mode on a model whose vendor has none."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="fb_app")
    answer = client.responses.create(model="m-alone", input="q1", background=True)
    assert answer.background is True and answer.status in {"queued", "in_progress", "completed"}, answer
    done = until(lambda: (lambda a: a if a.status not in {"queued", "in_progress"} else None)(client.responses.retrieve(answer.id)))
    assert (done.status, done.output_text) == ("completed", "echo q1"), done
    events = list(client.responses.retrieve(answer.id, stream=True, starting_after=0))
    assert [event.sequence_number for event in events] == list(range(1, len(events) + 1)), events
    assert events[-1].type == "response.completed", events
    assert client.responses.cancel(answer.id).status == "completed"
    client.responses.delete(answer.id)
    try:
        client.responses.retrieve(answer.id)
        raise AssertionError("what was deleted is found")
    except openai.NotFoundError:
        pass
    with client.responses.create(model="m-alone", input="q2", background=True, stream=True) as stream:
        types = [event.type for event in stream]
    assert types[0] == "response.created" and types[-1] == "response.completed", types
def begin_js(url):
    folder = js_folder()
    script = folder / "batches.mjs"
    script.write_text((Path(__file__).parent / "batches.mjs").read_text())
    command = ["node", str(script), url, json.dumps(MODELS), str(LINES)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def judge_js(node):
    """What the JavaScript SDKs have found."""
    out, err = node.communicate(timeout=300)
    good, rows = node.returncode == 0, [json.loads(line) for line in out.splitlines()]
    for row in rows:
        good &= "error" not in row
        say("FAIL" if "error" in row else "PASS", f"{LINES:,} lines by {row['what']}" + (f": {row['error']}" if "error" in row else ""))
    if not good or len(rows) != 2:
        say("FAIL", f"node ended with {node.returncode}: {err[-2000:]}")
    return good and len(rows) == 2


def memory_of(pid):
    """What a process holds in memory now, and at the most so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    read = lambda name: next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))
    return read("VmRSS:"), read("VmHWM:")


def measure_memory(url, pid, lines):
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="fb_app", timeout=600)
    client.models.list()
    with tempfile.NamedTemporaryFile("w+b", suffix=".jsonl") as file:
        for n in range(lines):
            body = {"model": "gpt-4o-mini", "max_tokens": 60, "messages": [{"role": "user", "content": f"q{n}"}]}
            file.write(json.dumps({"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}).encode() + b"\n")
        size = file.tell()
        file.seek(0)
        before, _ = memory_of(pid)
        began = time.time()
        kept = client.files.create(file=("in.jsonl", file.file), purpose="batch")
        batch = client.batches.create(input_file_id=kept.id, endpoint="/v1/chat/completions", completion_window="24h")
    over = {"completed", "failed", "expired", "cancelled"}
    look = lambda: (lambda b: b if b.status in over else None)(client.batches.retrieve(batch.id))
    batch = until(look, 1800)
    assert batch.status == "completed" and batch.request_counts.total == lines, batch
    told = sum(1 for name in (batch.output_file_id, batch.error_file_id) for line in client.files.content(name).iter_lines() if line.strip())
    assert told == lines, told
    took = time.time() - began
    _, most = memory_of(pid)
    say("PASS", f"{lines:,} lines ({size / 1e6:.1f} MB) in {took:.0f} s: {most / 1e6:.0f} MB at the most, {(most - before) / 1e6:.0f} MB more than before")
    return most - before


def booked(binary, config, data):
    command = [binary, "ledger", "export", "--jsonl", "--config", config, "--data-dir", data]
    rows = [json.loads(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]
    done = [row for row in rows if row["outcome"] == "ok"]
    for row in done:
        input, output = PRICES[row["model"]]
        assert int(row["cost_pico_usd"]) == INPUT * input + OUTPUT * output, row
    assert all(int(row["cost_pico_usd"]) == 0 for row in rows if row["outcome"] != "ok"), "what failed has a cost"
    return sum(int(row["cost_pico_usd"]) for row in done), len(done)


def check(what, work):
    try:
        work()
        say("PASS", what)
        return True
    except Exception:
        say("FAIL", f"{what}: {traceback.format_exc(limit=6)}")
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", str(ROOT / "target/debug/flyball")))
    parser.add_argument("--memory", type=int, metavar="LINES", help="measure flyball's memory with a file of so many lines")
    parser.add_argument("--memory-max", type=int, metavar="MB", help="fail if it grows by more")
    options = parser.parse_args()
    python = installed()
    if Path(sys.executable).resolve() != python.resolve() or sys.prefix != str(python.parent.parent):
        os.execv(str(python), [str(python), *sys.argv])
    vendor = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    binary = str(Path(options.flyball).resolve())
    with tempfile.TemporaryDirectory(prefix="flyball-batches-") as folder:
        file, data = Path(folder) / "flyball.toml", str(Path(folder) / "data")
        file.write_text(CONFIG.format(url=f"http://127.0.0.1:{vendor.server_port}"))
        env = {"UP_KEY": "up-key", **ANY_PORT}
        server = Child("flyball", [binary, "serve", "--config", str(file), "--data-dir", data], Path(folder) / "flyball.log", env)
        try:
            listen, _ = server.listening()
            url = listen
            if options.memory:
                grown = measure_memory(url, server.process.pid, options.memory)
                return 0 if grown <= (options.memory_max or 1 << 30) * 1_000_000 else 1
            node = begin_js(url)
            good = check("1,000 lines by the OpenAI SDK", lambda: with_openai(url))
            good &= check("1,000 lines by the Anthropic SDK", lambda: with_anthropic(url))
            good &= judge_js(node)
            good &= check("requests that wait, by both SDKs", lambda: one_by_one(url))
            good &= check("answers in the background, by the OpenAI SDK", lambda: in_background(url))
        finally:
            server.stop()
        once = len(set(sent)) == len(sent)
        good &= once
        say("PASS" if once else "FAIL", f"{len(sent)} lines in vendors' batches, each once; {len(asked_alone)} by themselves")
        good &= check("every answer is booked at its price", lambda: say("PASS", "booked {0} pico-dollars for {1} answers".format(*booked(binary, str(file), data))))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
