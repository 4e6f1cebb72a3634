#!/usr/bin/env python3
"""A scripted provider that speaks OpenAI's chat completions and keeps the only true bill.

    benches/caps/provider.py PORT

The last message of a request begins with what is to happen, `#ID out=150 ms=20 fault=429 lie=zero`, and goes on with words. Its input
costs a token a word, its answer a token a word; both are billed when they are generated, whether or not anybody reads them and
whatever `usage` says. A client that hangs up ends nothing: what was asked for is generated to its end and billed.

| word | meaning |
|---|---|
| `out` | words that the model has to say; `max_tokens` and `max_completion_tokens` cut them short |
| `ms` | how long that takes: before a whole answer, and spread over a stream's events |
| `fault` | only for the first attempt of this id. `429` and `500` refuse it and bill nothing; `cut` breaks the connection in the middle of the answer and bills all of it |
| `lie` | what `usage` says: nothing (`none`), zeros (`zero`) or half of the answer (`half`) |

`GET /bill?of=PREFIX` tells each attempt whose id begins so: `{"id", "in", "out", "began", "ended"}`, by the machine's monotonic clock;
`GET /open?of=PREFIX` how many are being generated.
"""

import asyncio
import contextlib
import json
import sys
import time
from urllib.parse import parse_qs, urlsplit

BILL = []
OPEN = {}
SEEN = set()
WORDS_AN_EVENT = 10


async def head_and_body(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = lines[0].split(" ", 2)
    return method, target, body


def whole(status, value):
    body = json.dumps(value).encode()
    return b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body


def usage(lie, asked, said):
    if lie == "none":
        return None
    if lie == "zero":
        asked = said = 0
    if lie == "half":
        said //= 2
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def chunk(delta, finish=None, used=None):
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": []}
    if used is None:
        value["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    else:
        value["usage"] = used
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    return b"%x\r\n" % len(data) + data + b"\r\n"


class Gone(Exception):
    """The connection is to be broken."""


async def completion(body, writer):
    asked = json.loads(body)
    text = asked["messages"][-1]["content"]
    if not isinstance(text, str):
        text = " ".join(part.get("text", "") for part in text)
    script = dict(word.split("=", 1) for word in text.split() if "=" in word)
    name = text.split()[0].lstrip("#")
    limit = asked.get("max_completion_tokens") or asked.get("max_tokens") or 4096
    words = min(int(script.get("out", 1)), limit)
    fault = script.get("fault") if name not in SEEN else None
    SEEN.add(name)
    if fault in ("429", "500"):
        kind = "rate_limit_error" if fault == "429" else "server_error"
        writer.write(whole(int(fault), {"error": {"message": "scripted", "type": kind, "code": kind}}))
        return await writer.drain()
    line = {"id": name, "in": len(text.split()), "out": 0, "began": time.monotonic(), "ended": None}
    BILL.append(line)
    OPEN[name] = OPEN.get(name, 0) + 1
    lie, seconds = script.get("lie"), float(script.get("ms", 0)) / 1000
    finish = "length" if words == limit else "stop"
    said = " word" * words
    try:
        if not asked.get("stream"):
            await asyncio.sleep(seconds)
            line["out"] = words
            answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "bench"}
            answer["choices"] = [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": finish}]
            if told := usage(lie, line["in"], words):
                answer["usage"] = told
            sent = whole(200, answer)
            if fault == "cut":
                writer.write(sent[: len(sent) // 2])
                raise Gone
            writer.write(sent)
            return await writer.drain()
        await stream(asked, words, seconds, (fault, lie, finish), line, writer)
    finally:
        line["ended"] = time.monotonic()
        OPEN[name] -= 1


async def stream(asked, words, seconds, terms, line, writer):
    fault, lie, finish = terms
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    reads = True

    async def tell(data):
        # Who has hung up ends nothing here: the words are generated and billed all the same.
        nonlocal reads
        if reads:
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                reads = False

    await tell(chunk({"role": "assistant", "content": ""}))
    events = max(1, -(-words // WORDS_AN_EVENT))
    for number in range(events):
        await asyncio.sleep(seconds / events)
        piece = min(WORDS_AN_EVENT, words - number * WORDS_AN_EVENT)
        line["out"] += piece
        if fault == "cut" and number >= events // 2:
            continue
        await tell(chunk({"content": " word" * piece}))
    if fault == "cut":
        raise Gone
    await tell(chunk({}, finish))
    told = usage(lie, line["in"], words)
    if told and (asked.get("stream_options") or {}).get("include_usage"):
        await tell(chunk(None, used=told))
    end = b"data: [DONE]\n\n"
    await tell(b"%x\r\n" % len(end) + end + b"\r\n0\r\n\r\n")


async def serve(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, Gone):
        while True:
            method, target, body = await head_and_body(reader)
            path, of = urlsplit(target).path, parse_qs(urlsplit(target).query).get("of", [""])[0]
            if path == "/bill":
                writer.write(whole(200, [line for line in BILL if line["id"].startswith(of)]))
            elif path == "/open":
                writer.write(whole(200, sum(n for name, n in OPEN.items() if name.startswith(of))))
            elif method == "POST" and path.endswith("/chat/completions"):
                await completion(body, writer)
            else:
                writer.write(whole(200, {"object": "list", "data": [{"id": "bench", "object": "model"}]}))
            await writer.drain()
    # A reset and no clean end: a cut must not look like an answer's end.
    with contextlib.suppress(OSError):
        writer.transport.abort()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
