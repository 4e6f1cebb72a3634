#!/usr/bin/env python3
"""Official SDKs -> flyball -> models that speak another dialect than the SDK.

A scripted vendor (in this process) speaks Chat Completions, Responses, Messages, generateContent and /api/chat, and
answers everything with the same thoughts, words and tool call in its own dialect, whole or streamed. flyball has one
provider of each kind. Every SDK asks every model, whole and streamed, with and without tools, and must see the same.
Prints PASS and FAIL lines; the exit status is 0 only if all passed.

    tests/e2e/dialects.py --flyball target/debug/flyball [--js] [--local] [--only NAME]
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llama import ANY_PORT, CACHE, HERE, LLAMA_KEY, MODEL, ROOT, Child, Failed, NoServer, install, model_server, run, say, skipped

PYTHON = ["openai==3.54.0", "anthropic==2.12.0", "google-genai==3.4.0", "ollama==0.6.3", "langchain-openai==1.7.4", "cohere==7.3.1"]
JS = ["openai@6.49.0", "@anthropic-ai/sdk@1.12.0", "ai@6.0.326", "@ai-sdk/openai@3.0.141", "@google/genai@2.32.0", "ollama@0.6.4"]
THOUGHT, WORDS, ARGS = "Let me see.", "It rains in Oslo: grüße 🌧.", {"city": "Oslo", "days": 2}
MODELS = {"m-chat": "openai-compatible", "m-responses": "openai", "m-messages": "anthropic", "m-gemini": "gemini", "m-ollama": "ollama", "m-cohere": "cohere"}

CONFIG = """\
[[provider]]
name = "{name}"
kind = "{kind}"
base_url = "{url}"

[[model]]
name = "{name}"
provider = "{name}"
tier = "standard"
efforts = ["none", "low", "medium", "high"]
input_usd_per_mtok = 1
output_usd_per_mtok = 10

"""


LOCAL = """\
[[provider]]
name = "llama"
kind = "llamacpp"
base_url = "{llama}"
api_key = "env:LLAMA_KEY"

[[model]]
name = "{model}"
provider = "llama"
tier = "local"
answer_tokens_max = 40
"""


# ---- the scripted vendor


def pieces(text, size=7):
    return [text[i : i + size] for i in range(0, len(text), size)]


def sse(events, named=False):
    for event in events:
        name = f"event: {event['type']}\n" if named else ""
        yield f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def chat(body, tool, words):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGS)}}
    finish = "tool_calls" if tool else "stop"
    usage = {"prompt_tokens": 11, "completion_tokens": 9, "total_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 4}}
    head = {"id": "c", "created": 1, "model": "up"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": words, "reasoning_content": THOUGHT}
        if tool:
            message["tool_calls"] = [call]
        yield json.dumps({**head, "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}).encode()
        return
    deltas = [{"role": "assistant", "content": ""}, *({"reasoning_content": p} for p in pieces(THOUGHT)), *({"content": p} for p in pieces(words))]
    if tool:
        first = {**call, "index": 0, "function": {"name": "weather", "arguments": ""}}
        deltas += [{"tool_calls": [first]}, *({"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in pieces(json.dumps(ARGS)))]
    chunk = {**head, "object": "chat.completion.chunk", "usage": None}
    yield from sse({**chunk, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas)
    yield from sse([{**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {**chunk, "choices": [], "usage": usage}])
    yield b"data: [DONE]\n\n"


def responses(body, tool, words):
    part = {"type": "output_text", "text": words, "annotations": [], "logprobs": []}
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": THOUGHT}], "encrypted_content": "sealed"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]},
    ]
    if tool:
        output.append({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": json.dumps(ARGS), "status": "completed"})
    usage = {"input_tokens": 11, "output_tokens": 9, "total_tokens": 20, "output_tokens_details": {"reasoning_tokens": 4}}
    whole = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "up", "output": output, "usage": usage}
    if not body.get("stream"):
        yield json.dumps(whole).encode()
        return
    events = [{"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}]
    for index, item in enumerate(output):
        events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, "arguments": ""} if "arguments" in item else item})
        if item["type"] == "reasoning":
            events += [{"type": "response.reasoning_summary_text.delta", "output_index": index, "summary_index": 0, "item_id": "rs_1", "delta": p} for p in pieces(THOUGHT)]
        elif item["type"] == "message":
            events += [{"type": "response.output_text.delta", "output_index": index, "content_index": 0, "item_id": "msg_1", "delta": p} for p in pieces(words)]
        else:
            events += [{"type": "response.function_call_arguments.delta", "output_index": index, "item_id": "fc_1", "delta": p} for p in pieces(json.dumps(ARGS))]
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    yield from sse([*events, {"type": "response.completed", "response": whole}], named=True)


def messages(body, tool, words):
    usage = {"input_tokens": 11, "output_tokens": 9}
    blocks = [{"type": "thinking", "thinking": THOUGHT, "signature": "signed"}, {"type": "text", "text": words}]
    if tool:
        blocks.append({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": ARGS})
    stop = "tool_use" if tool else "end_turn"
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": usage}
    if not body.get("stream"):
        yield json.dumps(whole).encode()
        return
    events = [{"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}}]
    for index, block in enumerate(blocks):
        empty = {"thinking": {**block, "thinking": "", "signature": ""}, "text": {**block, "text": ""}, "tool_use": {**block, "input": {}}}[block["type"]]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        deltas = {
            "thinking": [*({"type": "thinking_delta", "thinking": p} for p in pieces(THOUGHT)), {"type": "signature_delta", "signature": "signed"}],
            "text": [{"type": "text_delta", "text": p} for p in pieces(words)],
            "tool_use": [{"type": "input_json_delta", "partial_json": p} for p in pieces(json.dumps(ARGS))],
        }[block["type"]]
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 9}}, {"type": "message_stop"}]
    yield from sse(events, named=True)


def gemini(body, tool, words, stream):
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 5, "thoughtsTokenCount": 4, "totalTokenCount": 20}
    call = {"functionCall": {"name": "weather", "args": ARGS}, "thoughtSignature": "c2lnbmVk"}
    answer = lambda parts, **more: {"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **more}], "usageMetadata": usage, "modelVersion": "up"}
    end = [call] if tool else []
    if not stream:
        parts = [{"text": THOUGHT, "thought": True}, {"text": words}, *end]
        yield json.dumps(answer(parts, finishReason="STOP")).encode()
        return
    events = [answer([{"text": p, "thought": True}]) for p in pieces(THOUGHT)] + [answer([{"text": p}]) for p in pieces(words)]
    events.append(answer(end or [{"text": ""}], finishReason="STOP"))
    for event in events:
        yield f"data: {json.dumps(event)}\r\n\r\n".encode()


def gemini_chat(body, tool, words):
    """Google's OpenAI-compatible endpoint hides the thoughts' tokens: they are in the total alone."""
    hidden = lambda usage: {**usage, "completion_tokens": 5, "total_tokens": 20, "completion_tokens_details": None} if usage else usage
    for piece in chat(body, tool, words):
        data = piece.decode().removeprefix("data: ").strip()
        if data == "[DONE]":
            yield piece
            continue
        event = json.loads(data)
        event["usage"] = hidden(event.get("usage"))
        yield json.dumps(event).encode() if not body.get("stream") else b"data: " + json.dumps(event).encode() + b"\n\n"


def ollama_chat(body, tool, words):
    head = {"model": "up", "created_at": "2026-11-25T00:00:00Z"}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 9}
    calls = {"tool_calls": [{"function": {"name": "weather", "arguments": ARGS}}]} if tool else {}
    if body.get("stream") is False:
        message = {"role": "assistant", "content": words, "thinking": THOUGHT, **calls}
        yield json.dumps({**head, "message": message, **end}).encode()
        return
    said = [{"content": "", "thinking": p} for p in pieces(THOUGHT)] + [{"content": p} for p in pieces(words)]
    said += [{"content": "", **calls}] if tool else []
    for message in said:
        yield json.dumps({**head, "message": {"role": "assistant", **message}, "done": False}, ensure_ascii=False).encode() + b"\n"
    yield json.dumps({**head, "message": {"role": "assistant", "content": ""}, **end}).encode() + b"\n"


def cohere_chat(body, tool, words):
    """The tokens are more than what is billed, as Cohere's are: what a client sees is what is booked."""
    usage = {"billed_units": {"input_tokens": 11, "output_tokens": 9}, "tokens": {"input_tokens": 511, "output_tokens": 13}}
    function = {"name": "weather", "arguments": json.dumps(ARGS)}
    call = {"id": "weather_1", "type": "function", "function": function}
    finish = "TOOL_CALL" if tool else "COMPLETE"
    if not body.get("stream"):
        message = {"role": "assistant", "content": [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": words}]}
        if tool:
            message["tool_calls"] = [call]
        yield json.dumps({"id": "c", "finish_reason": finish, "message": message, "usage": usage}).encode()
        return
    said = lambda kind, index, **message: {"type": kind, "index": index, "delta": {"message": message}}
    events = [{"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}}]
    for index, (kind, text) in enumerate([("thinking", THOUGHT), ("text", words)]):
        events.append(said("content-start", index, content={"type": kind, kind: ""}))
        events += [said("content-delta", index, content={kind: p}) for p in pieces(text)]
        events.append({"type": "content-end", "index": index})
    if tool:
        events.append(said("tool-call-start", 0, tool_calls={**call, "function": {**function, "arguments": ""}}))
        events += [said("tool-call-delta", 0, tool_calls={"function": {"arguments": p}}) for p in pieces(function["arguments"])]
        events.append({"type": "tool-call-end", "index": 0})
    yield from sse([*events, {"type": "message-end", "id": "c", "delta": {"finish_reason": finish, "usage": usage}}], named=True)


ANSWERS = {
    "/v1/chat/completions": chat,
    "/v1beta/openai/chat/completions": gemini_chat,
    "/v1/responses": responses,
    "/v1/messages": messages,
    "/api/chat": ollama_chat,
    "/v2/chat": cohere_chat,
}


def wants_json(body):
    """A schema is asked for, in any dialect."""
    nested = [("text", "format"), ("output_config", "format"), ("generationConfig", "responseJsonSchema")]
    return "response_format" in body or "format" in body or any(inner in body.get(outer, {}) for outer, inner in nested)


class Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        tool = bool(body.get("tools"))
        words = json.dumps(ARGS) if wants_json(body) else WORDS
        if "GenerateContent" in self.path or "generateContent" in self.path:
            out, stream = gemini(body, tool, words, "stream" in self.path), "stream" in self.path
        else:
            answer = ANSWERS[self.path]
            out, stream = answer(body, tool, words), body.get("stream", answer is ollama_chat)
        self.send_response(200)
        kind = "application/x-ndjson" if self.path.startswith("/api/") else "text/event-stream"
        self.send_header("content-type", kind if stream else "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in out:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


# ---- the clients: each gives (thoughts, words, arguments of the call or None, input tokens, output tokens)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
ASK = "How is the weather in Oslo?"


# Google's OpenAI-compatible endpoint hides the thoughts in the total, so the output is what is left of that.


def with_openai_chat(base, model, tool, stream, limit=4000):
    import openai

    client = openai.OpenAI(base_url=f"{base}/v1", api_key="k", max_retries=0)
    more = {"tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}]} if tool else {}
    more["max_completion_tokens"] = limit
    if tool == FORCED:
        more["tool_choice"] = "required"
    ask = [{"role": "user", "content": ASK}]
    if not stream:
        whole = client.chat.completions.create(model=model, messages=ask, **more)
        message = whole.choices[0].message
        args = json.loads(message.tool_calls[0].function.arguments) if message.tool_calls else None
        thoughts = (message.model_extra or {}).get("reasoning_content")
        return thoughts, message.content, args, whole.usage.prompt_tokens, whole.usage.total_tokens - whole.usage.prompt_tokens
    thoughts, words, args, usage = "", "", "", None
    for chunk in client.chat.completions.create(model=model, messages=ask, stream=True, stream_options={"include_usage": True}, **more):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            thoughts += (choice.delta.model_extra or {}).get("reasoning_content") or ""
            words += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                args += (call.function.arguments or "") if call.index == 0 else ""
    return thoughts, words, json.loads(args) if args else None, usage.prompt_tokens, usage.total_tokens - usage.prompt_tokens


def with_openai_responses(base, model, tool, stream, limit=4000):
    import openai

    client = openai.OpenAI(base_url=f"{base}/v1", api_key="k", max_retries=0)
    more = {"tools": [{"type": "function", "name": "weather", "description": "d", "parameters": SCHEMA, "strict": False}]} if tool else {}
    if tool == FORCED:
        more["tool_choice"] = "required"
    ask = dict(model=model, input=ASK, reasoning={"summary": "auto"}, store=False, max_output_tokens=limit, **more)
    if stream:
        with client.responses.stream(**ask) as stream:
            events = list(stream)
        deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert events[-1].type in ("response.completed", "response.incomplete"), events[-1]
        whole = events[-1].response
        assert deltas == whole.output_text, (deltas, whole.output_text)
    else:
        whole = client.responses.create(**ask)
    thoughts = "".join(s.text for item in whole.output if item.type == "reasoning" for s in item.summary)
    calls = [json.loads(item.arguments) for item in whole.output if item.type == "function_call"]
    return thoughts, whole.output_text, calls[0] if calls else None, whole.usage.input_tokens, whole.usage.output_tokens


def with_anthropic(base, model, tool, stream, limit=4000):
    import anthropic

    client = anthropic.Anthropic(base_url=base, api_key="k", max_retries=0)
    more = {"tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}]} if tool else {}
    # A call is forced only where nothing thinks before it.
    more |= {"tool_choice": {"type": "any"}} if tool == FORCED else {"thinking": {"type": "adaptive"}}
    ask = dict(model=model, max_tokens=limit, messages=[{"role": "user", "content": ASK}], **more)
    if stream:
        with client.messages.stream(**ask) as events:
            words = "".join(events.text_stream)
            whole = events.get_final_message()
        assert words == "".join(b.text for b in whole.content if b.type == "text")
    else:
        whole = client.messages.create(**ask)
    thoughts = "".join(b.thinking for b in whole.content if b.type == "thinking")
    words = "".join(b.text for b in whole.content if b.type == "text")
    calls = [b.input for b in whole.content if b.type == "tool_use"]
    return thoughts, words, calls[0] if calls else None, whole.usage.input_tokens, whole.usage.output_tokens


def with_google(base, model, tool, stream, limit=4000):
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="k", http_options={"base_url": base})
    config = {"thinking_config": {"include_thoughts": True}, "max_output_tokens": limit}
    if tool:
        function = types.FunctionDeclaration(name="weather", description="d", parameters_json_schema=SCHEMA)
        config["tools"] = [types.Tool(function_declarations=[function])]
    if tool == FORCED:
        config["tool_config"] = {"function_calling_config": {"mode": "ANY"}}
    ask = dict(model=model, contents=ASK, config=config)
    answers = list(client.models.generate_content_stream(**ask)) if stream else [client.models.generate_content(**ask)]
    parts = [p for a in answers for c in a.candidates or [] for p in (c.content.parts if c.content and c.content.parts else [])]
    thoughts = "".join(p.text or "" for p in parts if p.thought)
    words = "".join(p.text or "" for p in parts if not p.thought)
    calls = [p.function_call.args for p in parts if p.function_call]
    usage = answers[-1].usage_metadata
    return thoughts, words, calls[0] if calls else None, usage.prompt_token_count, usage.candidates_token_count + (usage.thoughts_token_count or 0)


def with_ollama(base, model, tool, stream, limit=4000):
    import ollama

    client = ollama.Client(host=base)
    more = {"tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}]} if tool else {}
    answer = client.chat(model=model, messages=[{"role": "user", "content": ASK}], think=True, stream=stream, options={"num_predict": limit}, **more)
    answers = list(answer) if stream else [answer]
    thoughts = "".join(a.message.thinking or "" for a in answers)
    words = "".join(a.message.content or "" for a in answers)
    calls = [dict(c.function.arguments) for a in answers for c in a.message.tool_calls or []]
    return thoughts, words, calls[0] if calls else None, answers[-1].prompt_eval_count, answers[-1].eval_count


def with_cohere(base, model, tool, stream, limit=4000):
    import cohere

    client = cohere.ClientV2(api_key="k", base_url=base)
    more = {"tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}]} if tool else {}
    if tool == FORCED:
        more["tool_choice"] = "REQUIRED"
    ask = dict(model=model, messages=[{"role": "user", "content": ASK}], max_tokens=limit, **more)
    if not stream:
        whole = client.chat(**ask)
        message, tokens = whole.message, whole.usage.billed_units
        assert whole.finish_reason == ("TOOL_CALL" if tool else "COMPLETE") or limit < 4000, whole.finish_reason
        thoughts = "".join(c.thinking for c in message.content or [] if c.type == "thinking")
        # Words beside a call are its plan; a Cohere model's own bytes have them where it put them.
        words = (message.tool_plan or "") + "".join(c.text for c in message.content or [] if c.type == "text")
        args = json.loads(message.tool_calls[0].function.arguments) if message.tool_calls else None
        return thoughts, words, args, tokens.input_tokens, tokens.output_tokens
    thoughts, words, args, kinds = "", "", "", []
    for event in client.chat_stream(**ask):
        kinds.append(event.type)
        if event.type == "content-delta":
            thoughts += event.delta.message.content.thinking or ""
            words += event.delta.message.content.text or ""
        elif event.type == "tool-call-delta" and kinds.count("tool-call-start") == 1:
            args += event.delta.message.tool_calls.function.arguments
        elif event.type == "message-end":
            tokens = event.delta.usage.billed_units
    assert (kinds[0], kinds[-1]) == ("message-start", "message-end"), kinds
    return thoughts, words, json.loads(args) if args else None, tokens.input_tokens, tokens.output_tokens


def langchain(base, model, limit=4000):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(base_url=f"{base}/v1", api_key="k", model=model, max_retries=0, max_tokens=limit, stream_usage=True)


def with_langchain(base, model, tool, stream, limit=4000):
    asked = langchain(base, model, limit)
    if tool:
        choice = {"tool_choice": "required"} if tool == FORCED else {}
        asked = asked.bind_tools([{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}], **choice)
    if stream:
        whole = None
        for chunk in asked.stream(ASK):
            whole = chunk if whole is None else whole + chunk
    else:
        whole = asked.invoke(ASK)
    calls = [call["args"] for call in whole.tool_calls]
    usage = whole.usage_metadata
    return "", whole.text, calls[0] if calls else None, usage["input_tokens"], usage["total_tokens"] - usage["input_tokens"]


def structured(base, only):
    """LangChain asks for an object by its schema, in the two ways that it knows."""
    good = True
    for model in MODELS if not only or only in "langchain" else []:
        for method in ("json_schema", "function_calling"):
            what = f"python langchain to {model}, structured by {method}"
            try:
                got = langchain(base, model).with_structured_output({"title": "weather", **SCHEMA}, method=method).invoke(ASK)
                fine = got == ARGS
                say("PASS" if fine else "FAIL", what if fine else f"{what}: {got}")
            except Exception:
                fine = False
                say("FAIL", f"{what}: {traceback.format_exc(limit=3)}")
            good &= fine
    return good


# A call that the model must make; True lets it choose.
FORCED = "forced"

CLIENTS = {"openai chat": with_openai_chat, "openai responses": with_openai_responses, "anthropic": with_anthropic, "google-genai": with_google, "ollama": with_ollama, "langchain": with_langchain, "cohere": with_cohere}


def judge(what, got, tool):
    thoughts, words, args, used_in, used_out = got
    expected = (WORDS, ARGS if tool else None, 11, 9)
    seen = (words, args, used_in, used_out)
    good = seen == expected and thoughts in (THOUGHT, "", None)
    say("PASS" if good else "FAIL", what if good else f"{what}: {(thoughts, *seen)} is not {(THOUGHT, *expected)}")
    return good


def python_clients(base, only):
    good = True
    for name, ask in CLIENTS.items():
        if only and only not in name:
            continue
        for model in MODELS:
            for tool in (False, True):
                for stream in (False, True):
                    what = f"python {name} to {model}{', tools' if tool else ''}{', streamed' if stream else ''}"
                    try:
                        good &= judge(what, ask(base, model, tool, stream), tool)
                    except Exception:
                        say("FAIL", f"{what}: {traceback.format_exc(limit=3)}")
                        good = False
    return good


def local_clients(base):
    """A real model: what it says is poor, but it says something, calls the tool that it must call, and counts both."""
    good = True
    for name, ask in CLIENTS.items():
        # Ollama's API cannot force a call.
        for tool in (False,) if name == "ollama" else (False, FORCED):
            for stream in (False, True):
                what = f"python {name} to llama.cpp{', tools' if tool else ''}{', streamed' if stream else ''}"
                try:
                    good &= real(what, ask(base, MODEL, tool, stream, limit=96 if tool else 24), tool)
                except Exception:
                    say("FAIL", f"{what}: {traceback.format_exc(limit=3)}")
                    good = False
    return good


def real(what, got, tool=False):
    thoughts, words, args, used_in, used_out = got
    said = isinstance(args, dict) if tool else bool(words or thoughts)
    fine = said and used_in > 0 and used_out > 0
    say("PASS" if fine else "FAIL", what if fine else f"{what}: {(words, args, used_in, used_out)}")
    return fine


def js_folder():
    """Where the JavaScript SDKs are installed."""
    folder = CACHE / "js"
    stamp = folder / "installed.txt"
    if not (stamp.exists() and stamp.read_text() == "\n".join(JS)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", *JS], cwd=folder)
        stamp.write_text("\n".join(JS))
    return folder


def js_clients(base, local):
    folder = js_folder()
    script = folder / "dialects.mjs"
    script.write_text((HERE / "dialects.mjs").read_text())
    done = subprocess.run(["node", str(script), base, json.dumps(list(MODELS)), *([MODEL] if local else [])], text=True, capture_output=True, timeout=300)
    good = done.returncode == 0
    for line in done.stdout.splitlines():
        row = json.loads(line)
        if "error" in row:
            say("FAIL", f"{row['what']}: {row['error']}")
            good = False
        elif row["real"]:
            good &= real(row["what"], row["got"])
        else:
            good &= judge(row["what"], row["got"], row["tool"])
    if done.returncode != 0:
        say("FAIL", f"node ended with {done.returncode}: {done.stderr[-2000:]}")
    return good


def installed():
    venv = CACHE / "dialects-venv"
    python, stamp = venv / "bin" / "python", venv / "installed.txt"
    if not (stamp.exists() and stamp.read_text() == "\n".join(PYTHON)):
        CACHE.mkdir(parents=True, exist_ok=True)
        run([sys.executable, "-m", "venv", "--clear", str(venv)])
        run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON])
        stamp.write_text("\n".join(PYTHON))
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", str(ROOT / "target/debug/flyball")))
    parser.add_argument("--js", action="store_true")
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    # A terminated run must still stop its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    python = installed()
    if Path(sys.executable).resolve() != python.resolve() or sys.prefix != str(python.parent.parent):
        os.execv(str(python), [str(python), *sys.argv])
    vendor = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{vendor.server_port}"
    config = "".join(CONFIG.format(name=name, kind=kind, url=url) for name, kind in MODELS.items())
    with tempfile.TemporaryDirectory(prefix="flyball-dialects-") as folder:
        with contextlib.ExitStack() as servers:
            if options.local:
                try:
                    quiet = ["--chat-template-kwargs", '{"enable_thinking": false}', "--temp", "0"]
                    llama = servers.enter_context(model_server(install(), folder, quiet))
                    config += LOCAL.format(llama=llama, model=MODEL)
                except NoServer as why:
                    if not skipped(why):
                        return 1
                    # All but the real model is here all the same.
                    options.local = False
            return 0 if round_of(options, config, folder) else 1


def round_of(options, config, folder):
    """One flyball with this configuration. True if every client saw what it must."""
    file = Path(folder) / "flyball.toml"
    file.write_text(config)
    env = {"LLAMA_KEY": LLAMA_KEY, **ANY_PORT}
    command = [str(Path(options.flyball).resolve()), "serve", "--config", str(file), "--data-dir", str(Path(folder) / "data")]
    server = Child("flyball", command, Path(folder) / "flyball.log", env)
    try:
        base, _ = server.listening()
        good = python_clients(base, options.only)
        good &= structured(base, options.only)
        if options.local:
            good &= local_clients(base)
        if options.js:
            good &= js_clients(base, options.local)
    finally:
        server.stop()
    if not good:
        print(f"--- the end of flyball's log\n{server.tail()}", flush=True)
    return good


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError) as why:
        say("FAIL", why)
        sys.exit(1)
