"""A scripted vendor on loopback that speaks Chat Completions, Responses, Messages and generateContent, whole and streamed.

It answers an agent's task with three steps, told apart by the results of tools that the request brings: a command that
writes one.txt, a command that writes two.txt, and the final words. It is as strict as the real vendors are: what they
refuse with a 400 it refuses in their form, and it keeps every request and every refusal. What it checks is in strict.py.
"""

import base64
import gzip
import json
import secrets
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import strict

KEY = "sk-upstream-agents"
STEPS = ["echo one > one.txt", "cat one.txt > two.txt && echo two >> two.txt"]
SHELLS = ["bash", "shell_command", "exec_command", "run_shell_command", "execute_command", "run_commands", "run_command", "local_shell", "shell", "run_terminal_cmd", "terminal", "execute", "exec"]
COMMANDS = ["command", "cmd", "commands", "script"]
THOUGHT = "Let me think about the next step."


@dataclass
class Tool:
    name: str
    schema: dict
    kind: str = "function"  # or custom, local_shell, shell: Responses has tools without a schema.
    namespace: str = None


@dataclass
class Ask:
    """A request as the script sees it, whatever its dialect."""

    dialect: str
    path: str
    headers: dict
    body: dict
    size: int
    model: str
    stream: bool
    tools: list
    said: list  # (kind, text) in order; the kind is user, assistant or result.
    thinks: bool
    schema: dict = None
    forced: bool = False
    refused: str = None
    turn: object = None


@dataclass
class Turn:
    """What the model says: thoughts (only where the request lets it think), words, calls as (tool, arguments)."""

    words: str = ""
    calls: list = field(default_factory=list)
    thought: str = THOUGHT


# ---- what an answer needs to know of a schema


def kind_of(schema):
    if not isinstance(schema, dict):
        return "string"
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if not kind:
        for several in ("anyOf", "oneOf", "allOf"):
            kinds = [kind_of(s) for s in schema.get(several) or []]
            kinds = [k for k in kinds if k != "null"]
            if kinds:
                return kinds[0]
        return "object" if "properties" in schema else "string"
    return kind.lower()


def instance(schema, name=""):
    """Something short and harmless that the schema takes."""
    if not isinstance(schema, dict):
        return "ok"
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if "type" not in schema and schema.get(several):
            return instance(next((s for s in schema[several] if kind_of(s) != "null"), schema[several][0]), name)
    kind = kind_of(schema)
    if kind == "object":
        needed = schema.get("required") or []
        return {k: instance(s, k) for k, s in (schema.get("properties") or {}).items() if k in needed}
    if kind == "array":
        return [instance(schema.get("items"), name)] * max(schema.get("minItems") or 0, 0)
    values = {"boolean": False, "integer": 60000 if "timeout" in name else schema.get("minimum", 1), "number": 60000 if "timeout" in name else schema.get("minimum", 1), "null": None}
    return values.get(kind, "A short task")


def shell_of(tools):
    """The agent's shell among the tools of a request."""

    def fits(tool, name):
        if tool.kind in ("local_shell", "shell"):
            return tool.kind == name
        known = tool.schema.get("properties") or {}
        bare = tool.name.split("__")[-1].lower()
        return bare == name and (tool.kind == "custom" or any(c in known for c in [*COMMANDS, "input"]))

    return next((t for name in SHELLS for t in tools if fits(t, name)), None)


def runs_code(tool):
    """Codex's newer models have a tool for JavaScript that has the shell within it."""
    return tool.name.split("__")[-1] == "exec" and not any(c in (tool.schema.get("properties") or {}) for c in COMMANDS)


def code(command):
    return f"const done = await tools.exec_command({{cmd: {json.dumps(command)}}});\ntext(done);"


def call_shell(tool, command):
    """The arguments with which this tool runs this command."""
    if tool.kind == "custom":
        return tool, code(command) if runs_code(tool) else command
    if tool.kind in ("local_shell", "shell"):
        return tool, {"command": ["bash", "-lc", command]}
    known = tool.schema.get("properties") or {}
    field = next((c for c in [*COMMANDS, "input"] if c in known), "command")
    args = instance(tool.schema)
    if runs_code(tool):
        return tool, {field: code(command)}
    if kind_of(known.get(field)) == "array":
        args[field] = [command] if field == "commands" else ["bash", "-lc", command]
        if field == "commands" and kind_of(known[field].get("items")) == "object":
            args[field] = [{**instance(known[field]["items"]), "command": command}]
    else:
        args[field] = command
    return tool, args


# ---- requests


def text_of(content):
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in content)
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content") or content.get("output") or "")
    return ""


def read_chat(body):
    said = []
    for m in body.get("messages") or []:
        kind = {"tool": "result", "function": "result"}.get(m.get("role"), m.get("role"))
        said.append((kind, text_of(m.get("content"))))
    tools = [Tool(t["function"]["name"], t["function"].get("parameters") or {}) if t.get("type") == "function" else Tool((t.get("custom") or {}).get("name", "?"), {}, "custom") for t in body.get("tools") or []]
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema") or ({"type": "object"} if form.get("type") == "json_object" else None)
    effort = body.get("reasoning_effort")
    toggled = (body.get("thinking") or {}).get("type")
    thinks = toggled == "enabled" or (toggled != "disabled" and (effort not in (None, "none") if effort or not strict.thinks_unasked(body.get("model", "")) else True))
    return tools, said, thinks, schema, body.get("tool_choice") not in (None, "auto", "none")


def read_responses(body):
    said, given = [], body.get("input") or []
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "message":
            said.append((item.get("role"), text_of(item.get("content"))))
        elif kind.endswith("_output"):
            said.append(("result", text_of(item.get("output"))))
    tools = []
    # Tools may also come as an item of the input.
    added = [t for item in given if isinstance(item, dict) and item.get("type") == "additional_tools" for t in item["tools"]]
    for t in [*(body.get("tools") or []), *added]:
        if t["type"] == "namespace":
            tools += [Tool(f["name"], f.get("parameters") or {}, f.get("type", "function"), t["name"]) for f in t.get("tools") or []]
        elif t["type"] in ("function", "custom", "local_shell", "shell"):
            tools.append(Tool(t.get("name", t["type"]), t.get("parameters") or {}, t["type"]))
    form = (body.get("text") or {}).get("format") or {}
    schema = form.get("schema") or ({"type": "object"} if form.get("type") == "json_object" else None)
    effort = (body.get("reasoning") or {}).get("effort")
    thinks = effort != "none" if effort else strict.thinks_unasked(body.get("model", ""))
    return tools, said, thinks, schema, body.get("tool_choice") not in (None, "auto", "none")


def read_messages(body):
    said = []
    for m in body.get("messages") or []:
        content = m.get("content")
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            said.append(("result" if block["type"] == "tool_result" else m["role"], text_of(block)))
    tools = [Tool(t["name"], t.get("input_schema") or {}, "function" if "input_schema" in t else "server") for t in body.get("tools") or []]
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive") or ("thinking" not in body and strict.thinks_unasked(body.get("model", "")))
    return tools, said, thinks, form.get("schema"), (body.get("tool_choice") or {}).get("type") in ("any", "tool")


def read_gemini(body):
    said = []
    for c in body.get("contents") or []:
        for part in c.get("parts") or []:
            kind = "result" if "functionResponse" in part else {"model": "assistant"}.get(c.get("role"), "user")
            said.append((kind, part.get("text") or ""))
    declared = [f for t in body.get("tools") or [] for f in t.get("functionDeclarations") or t.get("function_declarations") or []]
    tools = [Tool(f["name"], f.get("parametersJsonSchema") or f.get("parameters") or {}) for f in declared]
    config = body.get("generationConfig") or {}
    schema = config.get("responseJsonSchema") or config.get("responseSchema") or ({"type": "object"} if config.get("responseMimeType") == "application/json" else None)
    thinks = bool((config.get("thinkingConfig") or {}).get("includeThoughts"))
    mode = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("mode")
    return tools, said, thinks, schema, mode == "ANY"


# ---- answers: each gives the whole object and the events of a stream


def pieces(text, size=9):
    return [text[i : i + size] for i in range(0, len(text), size)]


def fresh(prefix):
    return prefix + secrets.token_hex(12)


class Speak:
    def __init__(self, vendor, ask, turn):
        self.vendor, self.ask, self.turn = vendor, ask, turn
        self.thought = turn.thought if ask.thinks else ""
        out = self.thought + turn.words + "".join(json.dumps(a) for _, a in turn.calls)
        self.input, self.output, self.reasoning = max(ask.size // 4, 1), len(out) // 4 + 1, len(self.thought) // 4
        self.cached = self.input // 2 if ask.model in vendor.warm and self.input > 2048 else 0
        vendor.warm.add(ask.model)
        vendor.told.append((self.input, self.output))

    def seal(self):
        text = base64.b64encode(("sealed:" + secrets.token_hex(40)).encode()).decode()
        # Only thoughts before a call are missed where they do not come back.
        self.vendor.seals[text] = len(self.vendor.asks) if self.turn.calls else None
        return text

    def chat(self):
        calls = [{"id": fresh("call_"), "type": "function", "function": {"name": t.name, "arguments": json.dumps(a)}} for t, a in self.turn.calls]
        finish = "tool_calls" if calls else "stop"
        usage = {"prompt_tokens": self.input, "completion_tokens": self.output, "total_tokens": self.input + self.output, "prompt_tokens_details": {"cached_tokens": self.cached}, "completion_tokens_details": {"reasoning_tokens": self.reasoning}}
        head = {"id": fresh("chatcmpl-"), "created": 1764000000, "model": self.ask.model}
        message = {"role": "assistant", "content": self.turn.words or None, "refusal": None}
        # OpenAI keeps its thoughts to itself; the others tell them.
        aloud = self.thought if not strict.is_openai(self.ask.model) else ""
        if aloud:
            message["reasoning_content"] = aloud
        if calls:
            # Google's own Chat Completions signs its calls too.
            if strict.gemini_signs(self.ask.model):
                calls[0]["extra_content"] = {"google": {"thought_signature": self.seal()}}
            message["tool_calls"] = calls
        whole = {**head, "object": "chat.completion", "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}], "usage": usage}
        deltas = [{"role": "assistant", "content": ""}, *({"reasoning_content": p} for p in pieces(aloud)), *({"content": p} for p in pieces(self.turn.words))]
        for i, c in enumerate(calls):
            deltas.append({"tool_calls": [{"index": i, **c, "function": {"name": c["function"]["name"], "arguments": ""}}]})
            deltas += [{"tool_calls": [{"index": i, "function": {"arguments": p}}]} for p in pieces(c["function"]["arguments"])]
        asked = (self.ask.body.get("stream_options") or {}).get("include_usage")
        chunk = {**head, "object": "chat.completion.chunk", **({"usage": None} if asked else {})}
        events = [{**chunk, "choices": [{"index": 0, "delta": d, "logprobs": None, "finish_reason": None}]} for d in deltas]
        events.append({**chunk, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish}]})
        return whole, events + ([{**chunk, "choices": [], "usage": usage}] if asked else []) + ["[DONE]"]

    def responses(self):
        body, output = self.ask.body, []
        if self.thought:
            # A real model seals its thoughts where they are asked for or are not kept at the vendor.
            sealed = "reasoning.encrypted_content" in (body.get("include") or [])
            summary = [{"type": "summary_text", "text": self.thought}] if (body.get("reasoning") or {}).get("summary") else []
            output.append({"type": "reasoning", "id": fresh("rs_"), "summary": summary, **({"encrypted_content": self.seal()} if sealed else {})})
        if self.turn.words:
            part = {"type": "output_text", "text": self.turn.words, "annotations": [], "logprobs": []}
            output.append({"type": "message", "id": fresh("msg_"), "role": "assistant", "status": "completed", "content": [part]})
        for tool, args in self.turn.calls:
            item = {"id": fresh({"custom": "ctc_", "local_shell": "lsh_", "shell": "sh_"}.get(tool.kind, "fc_")), "call_id": fresh("call_"), "status": "completed"}
            if tool.kind == "custom":
                item |= {"type": "custom_tool_call", "name": tool.name, "input": args, **({"namespace": tool.namespace} if tool.namespace else {})}
            elif tool.kind == "local_shell":
                item |= {"type": "local_shell_call", "action": {"type": "exec", "command": args["command"], "env": {}}}
            elif tool.kind == "shell":
                item |= {"type": "shell_call", "action": {"commands": [args["command"][-1]]}}
            else:
                item |= {"type": "function_call", "name": tool.name, "arguments": json.dumps(args), **({"namespace": tool.namespace} if tool.namespace else {})}
            output.append(item)
        usage = {"input_tokens": self.input, "input_tokens_details": {"cached_tokens": self.cached}, "output_tokens": self.output, "output_tokens_details": {"reasoning_tokens": self.reasoning}, "total_tokens": self.input + self.output}
        echo = {k: body[k] for k in ("tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "metadata", "instructions") if k in body}
        whole = {"id": fresh("resp_"), "object": "response", "created_at": 1764000000, "status": "completed", "error": None, "incomplete_details": None, "model": self.ask.model, **echo, "output": output, "usage": usage, "store": body.get("store", True)}
        self.vendor.keep(whole, body)
        for item in output:
            self.vendor.made[item["id"]] = output[0]["id"] if output[0]["type"] == "reasoning" and item is not output[0] else None
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        events = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
        for index, item in enumerate(output):
            at = {"output_index": index, "item_id": item["id"]}
            empty = {k: v for k, v in {"summary": [], "content": [], "arguments": "", "input": ""}.items() if k in item}
            events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, **empty, **({"status": "in_progress"} if "status" in item else {})}})
            if item["type"] == "reasoning" and item["summary"]:
                at["summary_index"] = 0
                part = item["summary"][0]
                events.append({"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}})
                events += [{"type": "response.reasoning_summary_text.delta", **at, "delta": p} for p in pieces(part["text"])]
                events += [{"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}, {"type": "response.reasoning_summary_part.done", **at, "part": part}]
            elif item["type"] == "message":
                at["content_index"] = 0
                part = item["content"][0]
                events.append({"type": "response.content_part.added", **at, "part": {**part, "text": ""}})
                events += [{"type": "response.output_text.delta", **at, "delta": p, "logprobs": []} for p in pieces(part["text"])]
                events += [{"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}, {"type": "response.content_part.done", **at, "part": part}]
            elif item["type"] in ("function_call", "custom_tool_call"):
                name, key = ("function_call_arguments", "arguments") if item["type"] == "function_call" else ("custom_tool_call_input", "input")
                events += [{"type": f"response.{name}.delta", **at, "delta": p} for p in pieces(item[key])]
                events.append({"type": f"response.{name}.done", **at, key: item[key]})
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        events.append({"type": "response.completed", "response": whole})
        return whole, [{**e, "sequence_number": n} for n, e in enumerate(events)]

    def messages(self):
        blocks = []
        if self.thought:
            omitted = (self.ask.body.get("thinking") or {}).get("display") == "omitted"
            blocks.append({"type": "thinking", "thinking": "" if omitted else self.thought, "signature": self.seal()})
        if self.turn.words:
            blocks.append({"type": "text", "text": self.turn.words})
        blocks += [{"type": "tool_use", "id": fresh("toolu_"), "name": t.name, "input": a} for t, a in self.turn.calls]
        stop = "tool_use" if self.turn.calls else "end_turn"
        marked = '"cache_control"' in json.dumps(self.ask.body)
        part = self.input // 2 if marked else 0
        written, read = (0, part) if self.cached else (part, 0)
        usage = {"input_tokens": self.input - part, "cache_creation_input_tokens": written, "cache_read_input_tokens": read, "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0}, "output_tokens": self.output, "service_tier": "standard"}
        whole = {"id": fresh("msg_"), "type": "message", "role": "assistant", "model": self.ask.model, "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": usage}
        events = [{"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}}]
        for index, block in enumerate(blocks):
            empty = {"thinking": {**block, "thinking": "", "signature": ""}, "text": {**block, "text": ""}, "tool_use": {**block, "input": {}}}[block["type"]]
            events += [{"type": "content_block_start", "index": index, "content_block": empty}, *([{"type": "ping"}] if not index else [])]
            if block["type"] == "thinking":
                deltas = [*({"type": "thinking_delta", "thinking": p} for p in pieces(block["thinking"])), {"type": "signature_delta", "signature": block["signature"]}]
            elif block["type"] == "text":
                deltas = [{"type": "text_delta", "text": p} for p in pieces(block["text"])]
            else:
                deltas = [{"type": "input_json_delta", "partial_json": p} for p in ["", *pieces(json.dumps(block["input"]))]]
            events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
            events.append({"type": "content_block_stop", "index": index})
        return whole, events + [{"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": self.output}}, {"type": "message_stop"}]

    def gemini(self):
        parts = [{"text": self.thought, "thought": True}] if self.thought else []
        if self.turn.words:
            parts.append({"text": self.turn.words})
        calls = [{"functionCall": {"name": t.name, "args": a}} for t, a in self.turn.calls]
        if calls and strict.gemini_signs(self.ask.model):
            calls[0]["thoughtSignature"] = self.seal()
        usage = {"promptTokenCount": self.input, "candidatesTokenCount": self.output - self.reasoning, "thoughtsTokenCount": self.reasoning, "totalTokenCount": self.input + self.output, "cachedContentTokenCount": self.cached}
        head = {"modelVersion": self.ask.model, "responseId": fresh("r")}

        def answer(parts, **more):
            return {"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **more}], "usageMetadata": usage, **head}

        whole = answer(parts + calls, finishReason="STOP")
        events = [answer([{**p, "text": t}]) for p in parts for t in pieces(p["text"])]
        return whole, [*events, *([answer(calls)] if calls else []), answer([{"text": ""}], finishReason="STOP")]


READ = {"chat": read_chat, "responses": read_responses, "messages": read_messages, "gemini": read_gemini}
PATHS = {"/v1/chat/completions": "chat", "/chat/completions": "chat", "/v1beta/openai/chat/completions": "chat", "/v1/responses": "responses", "/responses": "responses", "/v1/messages": "messages", "/anthropic/v1/messages": "messages"}


class Vendor:
    """`Vendor(mark, token)`: a request with `mark` among its user's words is the task, whose last answer ends in `token`.

    `script` may be set to a function of an Ask that gives a Turn, or None for the built-in script. `asks` are all requests
    in order, `refusals` those that were refused, as (dialect, model, why), `others` all that went to unknown paths, `told` the usage of
    the answers, as (all input, all output).
    """

    def __init__(self, mark, token, script=None):
        self.mark, self.token, self.script = mark, token, script
        self.asks, self.refusals, self.others, self.told = [], [], [], []
        self.seals, self.kept, self.made, self.warm, self.lock = {}, {}, {}, set(), threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"vendor": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def keep(self, whole, body):
        """Responses keeps an answer, and what led to it, unless it was told not to."""
        if body.get("store", True):
            given = body.get("input") or []
            given = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given
            self.kept[whole["id"]] = [*given, *whole["output"]]
            self.kept.update({item["id"]: [item] for item in whole["output"]})

    def lost(self):
        """How many of the seals of thoughts before calls did not come back with the next requests, and how many there were."""
        due = {seal: n for seal, n in self.seals.items() if n is not None}
        return sum(not any(seal in json.dumps(a.body) for a in self.asks[n:]) for seal, n in due.items()), len(due)

    def step(self, ask):
        """How many results there are since the words that set the task, or None where this request is not about it."""
        start = max((i for i, (kind, text) in enumerate(ask.said) if kind == "user" and self.mark in text), default=None)
        return None if start is None else sum(kind == "result" for kind, _ in ask.said[start:])

    def answer(self, ask):
        turn = self.script(ask) if self.script else None
        if turn:
            return turn
        step, shell = self.step(ask), shell_of(ask.tools)
        if step is not None and shell:
            if step < len(STEPS):
                return Turn(f"Step {step + 1}.", [call_shell(shell, STEPS[step])])
            return Turn(f"ALL DONE {self.token}")
        if ask.schema:
            return Turn(json.dumps(instance(ask.schema)))
        if ask.forced and ask.tools:
            return Turn("", [(ask.tools[0], instance(ask.tools[0].schema))])
        return Turn("A short task")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body, **headers):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            raw = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw

    def other(self):
        self.vendor.others.append(f"{self.command} {self.path}")
        self.send(404, {"error": {"message": f"Unknown path {self.path}", "type": "invalid_request_error", "code": "not_found"}})

    def do_GET(self):
        if self.path.split("?")[0] == "/v1/models":
            self.send(200, {"object": "list", "data": []})
        else:
            self.other()

    do_HEAD = do_DELETE = other

    def do_POST(self):
        raw = self.body()
        path, _, query = self.path.partition("?")
        name, _, verb = path.rpartition("/")[2].partition(":")
        dialect = PATHS.get(path) or ("gemini" if verb in ("generateContent", "streamGenerateContent") else None)
        if path == "/v1/messages/count_tokens":
            return self.send(200, {"input_tokens": len(raw) // 4})
        if verb == "countTokens":
            return self.send(200, {"totalTokens": len(raw) // 4})
        if not dialect:
            return self.other()
        try:
            body = json.loads(raw)
        except ValueError:
            body = {"unreadable": raw.decode("utf-8", "replace")}
        stream = verb == "streamGenerateContent" if dialect == "gemini" else bool(body.get("stream"))
        headers = {k.lower(): v for k, v in self.headers.items()}
        ask = Ask(dialect, self.path, headers, body, len(raw), name if dialect == "gemini" else body.get("model", ""), stream, [], [], False)
        with self.vendor.lock:
            self.vendor.asks.append(ask)
            why = strict.refusal(self.vendor, ask, KEY)
            if not why:
                try:
                    seen = {**body, "input": self.whole_input(body)} if dialect == "responses" else body
                    ask.tools, ask.said, ask.thinks, ask.schema, ask.forced = READ[dialect](seen)
                    ask.size += len(json.dumps(seen.get("input"))) - len(json.dumps(body.get("input"))) if dialect == "responses" else 0
                    ask.thinks = ask.thinks and not (dialect == "messages" and ask.forced)
                except (KeyError, TypeError, AttributeError) as bad:
                    why = f"This request cannot be read: {bad!r}"
            if why:
                ask.refused = why
                self.vendor.refusals.append((dialect, ask.model, why))
                return self.send(*strict.told(dialect, why))
            ask.turn = self.vendor.answer(ask)
            whole, events = getattr(Speak(self.vendor, ask, ask.turn), dialect)()
        if not ask.stream:
            return self.send(200, whole)
        self.send_response(200)
        array = dialect == "gemini" and "alt=sse" not in query
        self.send_header("content-type", "application/json" if array else "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        out = []
        for n, event in enumerate(events):
            text = event if isinstance(event, str) else json.dumps(event)
            named = f"event: {event['type']}\n" if dialect in ("responses", "messages") else ""
            out.append(("[" if not n else ",") + text + "\n" if array else f"{named}data: {text}\n\n")
        try:
            for piece in [*out, *(["]"] if array else [])]:
                data = piece.encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass

    def whole_input(self, body):
        """The input with everything in it that is kept here and only named."""
        given = body.get("input") or []
        given = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given
        before = self.vendor.kept.get(body.get("previous_response_id"), [])
        return [*before, *(part for item in given for part in (self.vendor.kept[item["id"]] if item.get("type") == "item_reference" else [item]))]
