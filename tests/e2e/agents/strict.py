"""What the real vendors refuse of a request, in their own words: here only what a coding agent or a proxy may do wrong.

`refusal(vendor, ask, key)` gives the reason, or None where the vendor takes the request. A reason is a text for a 400, or
(status, text). Names of models decide what a model demands, as with the vendors themselves.
"""

import json
import re

# Claude that thinks by a budget: in a tool loop its last turn must begin with its thinking.
BUDGET = re.compile(r"^claude-(sonnet-4-5|haiku-4-5|opus-4-5|sonnet-4-2|opus-4-2|opus-4-1|3-7)")
SYSTEM_TURNS = re.compile(r"^claude-(opus-4-8|opus-5|sonnet-5|haiku-5|fable|mythos)")
NO_SAMPLING = re.compile(r"^claude-(opus-(5|4-[78])|sonnet-5|haiku-5|fable|mythos)")
OPENAI = re.compile(r"^(gpt-|o[134]\b|codex-)")
OPENAI_THINKS = re.compile(r"^(o[134]|gpt-5(?!-chat)|gpt-6|codex-)")
OPENAI_UNASKED = re.compile(r"^(o[134]|gpt-5($|-(?!chat))|gpt-5\.1-codex|gpt-5\.[56]|gpt-6|codex-)")
OPENAI_NO_STOP = re.compile(r"^(o[134]|gpt-5($|-(?!chat)))")
OPENAI_TOOLS_NEED_NONE = re.compile(r"^gpt-(5\.[456]|6)")
STAND_INS = {"skip_thought_signature_validator", "context_engineering_is_the_way_to_go", "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}

CHAT_FIELDS = set(
    "messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens metadata modalities moderation n "
    "parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed "
    "service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options".split()
)
RESPONSES_FIELDS = set(
    "background client_metadata context_management conversation include input instructions max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls "
    "previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options "
    "temperature text tool_choice tools top_logprobs top_p truncation user".split()
)
MESSAGES_FIELDS = set(
    "model messages max_tokens cache_control container context_management diagnostics fallbacks inference_geo mcp_servers metadata output_config output_format service_tier "
    "speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p user_profile_id".split()
)
GEMINI_FIELDS = set("contents systemInstruction system_instruction tools toolConfig tool_config safetySettings generationConfig generation_config cachedContent labels serviceTier store".split())
# Anthropic takes these only with the beta's name in anthropic-beta.
BETAS = {"context_management": "context-management", "output_format": "structured-outputs", "mcp_servers": "mcp-client", "speed": "fast-mode"}
BLOCK_FIELDS = {
    "text": {"type", "text", "cache_control", "citations"},
    "tool_use": {"type", "id", "name", "input", "cache_control", "caller"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
}
RESPONSES_TOOLS = {"function", "custom", "namespace", "web_search", "web_search_preview", "file_search", "computer", "computer_use_preview", "code_interpreter", "image_generation", "mcp", "local_shell", "shell", "apply_patch", "tool_search"}
RESPONSES_IDS = {"message": "msg", "function_call": "fc", "reasoning": "rs", "custom_tool_call": "ctc"}


def is_openai(model):
    return bool(OPENAI.match(model))


def thinks_unasked(model):
    """Whether a model thinks where the request says nothing of it."""
    return bool(OPENAI_UNASKED.match(model) or re.match(r"claude-(opus-5|sonnet-5|haiku-5|fable|mythos)|deepseek-v4|deepseek-flash", model))


def gemini_signs(model):
    return bool(re.match(r"gemini-[34]", model))


def told(dialect, why):
    status, text = why if isinstance(why, tuple) else (400, why)
    kind = {401: "authentication_error", 404: "not_found_error"}.get(status, "invalid_request_error")
    if dialect == "messages":
        return status, {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}
    if dialect == "gemini":
        return status, {"error": {"code": status, "message": text, "status": "UNAUTHENTICATED" if status == 401 else "INVALID_ARGUMENT"}}
    return status, {"error": {"message": text, "type": kind, "param": None, "code": None}}


def refusal(vendor, ask, key):
    sent = [ask.headers.get("authorization", "").removeprefix("Bearer "), ask.headers.get("x-api-key"), ask.headers.get("x-goog-api-key")]
    if key not in sent:
        return 401, "Incorrect API key provided"
    if any(s and s.startswith("fb_") for s in sent) or any(name.startswith("x-flyball") for name in ask.headers):
        return 401, "What belongs to the proxy came along"
    if "unreadable" in ask.body:
        return f"We could not parse the JSON body of your request: {ask.body['unreadable'][:200]}"
    if "flyball1." in json.dumps(ask.body):
        return "What the proxy sealed came along unopened"
    try:
        return {"chat": chat, "responses": responses, "messages": messages, "gemini": gemini}[ask.dialect](vendor, ask, ask.body)
    except (KeyError, TypeError, AttributeError, IndexError) as bad:
        return f"This request has another shape than it should: {bad!r}"


def walk(schema):
    if isinstance(schema, dict):
        yield schema
        for v in schema.values():
            yield from walk(v)
    elif isinstance(schema, list):
        for v in schema:
            yield from walk(v)


def typed(schema):
    """Why a schema that reached another vendor than Google is none: Google alone has types in capitals."""
    kinds = {"object", "array", "string", "integer", "number", "boolean", "null"}
    for part in walk(schema):
        for kind in [t] if isinstance(t := part.get("type"), str) else t if isinstance(t, list) else []:
            if kind not in kinds:
                return f"{json.dumps(kind)} is not valid under any of the given schemas"
    return None


def functions(named):
    """What OpenAI refuses of functions, given as (where, function)."""
    for at, f in named:
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", f.get("name", "")):
            return f"Invalid '{at}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        schema = f.get("parameters")
        if schema and schema.get("type") == "object" and "properties" not in schema:
            return f"Invalid schema for function '{f['name']}': In context=(), object schema missing properties."
        for part in walk(schema):
            if part.get("type") == "array" and "items" not in part:
                return f"Invalid schema for function '{f['name']}': array schema missing items."
        if why := typed(schema) or (f.get("strict") and loose(schema)):
            return f"Invalid schema for function '{f['name']}': {why}"
    return None


def loose(schema):
    """Why OpenAI cannot follow this schema exactly."""
    for part in walk(schema):
        known = part.get("properties")
        if part.get("type") == "object" and isinstance(known, dict):
            missing = [k for k in known if k not in part.get("required", [])]
            if missing:
                return f"'required' is required to be supplied and to be an array including every key in properties. Missing '{missing[0]}'."
            if part.get("additionalProperties") is not False:
                return "'additionalProperties' is required to be supplied and to be false."
    return None


def openai(body, fields):
    """What OpenAI's two dialects refuse alike, at models of OpenAI."""
    unknown = set(body) - fields
    if unknown:
        return f"Unknown parameter: '{sorted(unknown)[0]}'."
    if '"cache_control"' in json.dumps(body.get("messages") or body.get("input")):
        return "Unknown parameter: 'cache_control'."
    if len(body.get("user") or "") > 64:
        return "Invalid 'user': string too long. Expected a string with maximum length 64."
    if OPENAI_THINKS.match(body["model"]):
        if OPENAI_NO_STOP.match(body["model"]) and body.get("stop"):
            return "Unsupported parameter: 'stop' is not supported with this model."
        effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
        off = effort == "none" or (effort is None and not OPENAI_UNASKED.match(body["model"]))
        for name in ("temperature", "top_p"):
            if body.get(name) not in (None, 1) and not off:
                return f"Unsupported value: '{name}' does not support {body[name]} with this model. Only the default (1) value is supported."
    return None


def chat(vendor, ask, body):
    model = body["model"]
    if OPENAI.match(model):
        if why := openai(body, CHAT_FIELDS):
            return why
        if OPENAI_THINKS.match(model) and "max_tokens" in body:
            return "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        if body.get("tools") and OPENAI_TOOLS_NEED_NONE.match(model):
            effort = body.get("reasoning_effort") or ("medium" if OPENAI_UNASKED.match(model) else "none")
            if effort != "none":
                return f"Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'."
    tools = body.get("tools") or []
    if len(tools) > 128:
        return f"Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length {len(tools)} instead."
    if "tools" in body and not tools:
        return "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead."
    if why := functions((f"tools[{i}].function", t["function"]) for i, t in enumerate(tools) if t["type"] == "function"):
        return why
    form = (body.get("response_format") or {}).get("json_schema") or {}
    if why := typed(form.get("schema")) or (form.get("strict") and loose(form.get("schema"))):
        return f"Invalid schema for response_format '{form.get('name')}': {why}"
    open_calls = set()
    turn = max((i for i, m in enumerate(body["messages"]) if m.get("role") == "user"), default=0)
    thinking_off = (body.get("thinking") or {}).get("type") == "disabled" or body.get("reasoning_effort") == "none"
    for i, m in enumerate(body["messages"]):
        role = m.get("role")
        if role not in ("system", "developer", "user", "assistant", "tool", "function"):
            return f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
        if role == "developer" and not OPENAI.match(model):
            return f"messages[{i}].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`"
        if open_calls and role != "tool":
            return f"An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(sorted(open_calls))}"
        if role == "tool":
            if m["tool_call_id"] not in open_calls:
                return f"Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls' (messages[{i}])."
            open_calls.discard(m["tool_call_id"])
        calls = m.get("tool_calls")
        if calls == []:
            return f"Invalid 'messages[{i}].tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead."
        if m.get("content") is None and not (role == "assistant" and (calls or m.get("function_call") or m.get("refusal"))):
            return f"Invalid value for 'content': expected a string, got null. (messages[{i}])"
        if m.get("content") == []:
            return f"Invalid 'messages[{i}].content': empty array."
        for c in calls or []:
            if len(c["id"]) > 40:
                return f"Invalid 'messages[{i}].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length {len(c['id'])} instead."
            if c["type"] == "function":
                json.loads(c["function"]["arguments"])
            open_calls.add(c["id"])
        for c in (calls or [])[:1] if i > turn and gemini_signs(model) else []:
            signed = ((c.get("extra_content") or {}).get("google") or {}).get("thought_signature")
            if not signed:
                return f"Function call is missing a thought_signature in functionCall parts. Additional data, function call `default_api:{c['function']['name']}`, position {i + 1}."
            if signed not in vendor.seals and signed not in STAND_INS:
                return "Corrupted thought signature."
        # DeepSeek wants the thoughts of every call back while it thinks.
        if calls and model.startswith("deepseek-") and not thinking_off and not m.get("reasoning_content"):
            return "The `reasoning_content` in the thinking mode must be passed back to the API."
    if open_calls:
        return f"An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(sorted(open_calls))}"
    return None


def responses(vendor, ask, body):
    if why := openai(body, RESPONSES_FIELDS):
        return why
    if body.get("max_output_tokens") is not None and body["max_output_tokens"] < 16:
        return f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {body['max_output_tokens']} instead."
    flat = []
    added = [t for item in body.get("input") or [] if isinstance(item, dict) and item.get("type") == "additional_tools" for t in item["tools"]]
    for i, t in enumerate([*(body.get("tools") or []), *added]):
        if t["type"] not in RESPONSES_TOOLS:
            return f"Invalid value: '{t['type']}'. Supported values are: {sorted(RESPONSES_TOOLS)}. (tools[{i}].type)"
        flat += [(f"tools[{i}]", f) for f in ([t] if t["type"] == "function" else t.get("tools") or [])]
    if why := functions((at, f) for at, f in flat if f.get("type") == "function"):
        return why
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema" and (why := typed(form.get("schema")) or (form.get("strict") and loose(form.get("schema")))):
        return f"Invalid schema for response_format '{form.get('name')}': {why}"
    given = body.get("input") or []
    if isinstance(given, str):
        return None
    before = body.get("previous_response_id")
    if before and before not in vendor.kept:
        return f"Previous response with id '{before}' not found."
    whole = list(vendor.kept.get(before, []))
    for item in given:
        if item.get("type") == "item_reference":
            if item["id"] not in vendor.kept:
                return 404, f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false."
            whole += vendor.kept[item["id"]]
        else:
            whole.append(item)
    calls, results, thoughts = {}, set(), set()
    for i, item in enumerate(whole):
        kind, name = item.get("type", "message"), item.get("id")
        prefix = RESPONSES_IDS.get(kind)
        if name and prefix and not name.startswith(prefix):
            return f"Invalid 'input[{i}].id': '{name}'. Expected an ID that begins with '{prefix}'."
        if name and len(name) > 64:
            return f"Invalid 'input[{i}].id': string too long. Expected a string with maximum length 64."
        if kind == "message":
            if item.get("role") not in ("user", "assistant", "system", "developer"):
                return f"Invalid value: '{item.get('role')}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
            for part in item["content"] if isinstance(item["content"], list) else []:
                fits = ("output_text", "refusal") if item["role"] == "assistant" else ("input_text", "input_image", "input_file", "input_audio")
                if part["type"] not in fits:
                    return f"Invalid value: '{part['type']}'. Supported values are: {fits}. (input[{i}].content)"
        elif kind == "reasoning":
            sealed = item.get("encrypted_content")
            if sealed and sealed not in vendor.seals:
                return f"The encrypted content for item {name} could not be verified. Reason: Encrypted content could not be decrypted or parsed."
            if not sealed and name not in vendor.kept:
                return 404, f"Item with id '{name}' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."
            follows = whole[i + 1].get("type", "message") if i + 1 < len(whole) else None
            if follows is None or follows.endswith("_output") or (follows == "message" and whole[i + 1]["role"] != "assistant"):
                return f"Item '{name}' of type 'reasoning' was provided without its required following item."
            thoughts.add(name)
        elif kind.endswith("_call_output") or kind == "function_call_output":
            if item["call_id"] not in calls:
                return f"No tool call found for {kind.replace('_', ' ')} with call_id {item['call_id']}."
            results.add(item["call_id"])
        elif kind.endswith("_call") and "call_id" in item:
            calls[item["call_id"]] = kind
            if len(item["call_id"]) > 64:
                return f"Invalid 'input[{i}].call_id': string too long. Expected a string with maximum length 64."
            if kind == "function_call":
                json.loads(item["arguments"])
        # A kept item that came after thoughts must come with them, where its id is told.
        if (needs := vendor.made.get(name)) and needs not in thoughts:
            return f"Item '{name}' of type '{kind}' was provided without its required 'reasoning' item: '{needs}'."
    if missing := [c for c in calls if c not in results]:
        return f"No tool output found for {calls[missing[0]].replace('_', ' ')} {missing[0]}."
    return None


def messages(vendor, ask, body):
    model, betas = body["model"], ask.headers.get("anthropic-beta", "")
    vendors_own = model.startswith("claude-")  # Others who speak Messages pass over what they do not know.
    if vendors_own and not ask.headers.get("anthropic-version"):
        return "anthropic-version: header is required"
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    for name in body if vendors_own else []:
        if name not in MESSAGES_FIELDS or (name in BETAS and BETAS[name] not in betas):
            return f"{name}: Extra inputs are not permitted"
    if vendors_own and (marks := json.dumps(body).count('"cache_control": {')) > 4:
        return f"A maximum of 4 blocks with cache_control may be provided. Found {marks}."
    thinking = body.get("thinking") or {}
    kind = thinking.get("type")
    on = kind in ("enabled", "adaptive")
    if kind == "enabled":
        if not BUDGET.match(model) and NO_SAMPLING.match(model):
            return '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
        if thinking["budget_tokens"] < 1024:
            return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        if thinking["budget_tokens"] >= body["max_tokens"] and "interleaved-thinking" not in betas:
            return "`max_tokens` must be greater than `thinking.budget_tokens`."
    if kind == "adaptive" and BUDGET.match(model):
        return "adaptive thinking is not supported on this model"
    if (body.get("output_config") or {}).get("effort") and re.match(r"claude-(sonnet-4-5|haiku-4-5)", model):
        return "This model does not support the effort parameter."
    if on and (body.get("temperature") not in (None, 1) or body.get("top_k")):
        return "`temperature` may only be set to 1 when thinking is enabled."
    if NO_SAMPLING.match(model) and body.get("temperature") not in (None, 1):
        return "`temperature` is deprecated for this model."
    if body.get("temperature") is not None and body.get("top_p") is not None and not model.startswith("claude-3"):
        return "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    if on and (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        return "Thinking may not be enabled when tool_choice forces tool use."
    names = [t["name"] for t in body.get("tools") or []]
    for i, t in enumerate(body.get("tools") or []):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", t["name"]):
            return f"tools.{i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if t.get("type") in (None, "custom") and t["input_schema"].get("type") != "object":
            return f"tools.{i}.custom.input_schema.type: Field required"
    form = ((body.get("output_config") or {}).get("format") or body.get("output_format") or {}).get("schema")
    if why := typed([form, *(t.get("input_schema") for t in body.get("tools") or [])]):
        return why
    for part in walk(form):
        if part.get("type") == "object" and part.get("additionalProperties") is not False:
            return "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
    if len(names) != len(set(names)):
        return "tools: Tool names must be unique."
    system = body.get("system") or []
    for i, b in enumerate([] if isinstance(system, str) else system):
        if not b["text"]:
            return f"system.{i}: text content blocks must be non-empty"
    if not body["messages"]:
        return "messages: at least one message is required"
    ids, pending = set(), []
    for i, m in enumerate(body["messages"]):
        role, content = m["role"], m["content"]
        if role not in ("user", "assistant", "system"):
            return f"messages.{i}.role: Input should be 'user', 'assistant' or 'system'"
        if role == "system":
            # Words of the system after the first turn: from Opus 4.8 on. With an effort of its own it needs a beta.
            if vendors_own and not SYSTEM_TURNS.match(model):
                return "role 'system' is not supported on this model"
            if not i and content:
                return "messages.0: use the top-level 'system' parameter for the initial system prompt; the directive-only form (content: [] with output_config) is accepted at any position"
            if vendors_own and "output_config" in m and "per-turn-control" not in betas:
                return f"messages.{i}.output_config: Extra inputs are not permitted"
            if not content and "output_config" in m:
                continue
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        last = i == len(body["messages"]) - 1
        if not blocks or content == "":
            if not (last and role == "assistant"):
                return f"messages.{i}: all messages must have non-empty content except for the optional final assistant message"
        if pending:
            first = [b.get("tool_use_id") for b in blocks[: len(pending)] if b["type"] == "tool_result"]
            if role != "user" or set(first) != set(pending):
                missing = sorted(set(pending) - set(first))
                return f"messages.{i}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        for j, b in enumerate(blocks):
            at = f"messages.{i}.content.{j}"
            if b["type"] in BLOCK_FIELDS and (extra := set(b) - BLOCK_FIELDS[b["type"]]):
                return f"{at}.{b['type']}.{sorted(extra)[0]}: Extra inputs are not permitted"
            if b["type"] == "text" and not b["text"]:
                return f"messages: text content blocks must be non-empty ({at})"
            if b["type"] == "text" and not b["text"].strip():
                return f"messages: text content blocks must contain non-whitespace text ({at})"
            if b["type"] == "tool_result" and b["tool_use_id"] not in pending:
                return f"{at}: unexpected `tool_use_id` found in `tool_result` blocks: {b['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            for inner in b["content"] if b["type"] == "tool_result" and isinstance(b.get("content"), list) else []:
                if inner["type"] == "text" and not inner["text"]:
                    return f"{at}: text content blocks must be non-empty"
            if b["type"] == "thinking" and b["signature"] not in vendor.seals:
                return f"{at}: Invalid `signature` in `thinking` block"
        pending = [b["id"] for b in blocks if b["type"] == "tool_use"] if role == "assistant" else []
        for name in pending:
            if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
                return f"messages.{i}.content.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            if name in ids:
                return f"messages.{i}: `tool_use` ids must be unique"
            ids.add(name)
        if last and role == "assistant":
            if on:
                return "When thinking is enabled, a final `assistant` message must not prefill the response."
            if blocks and blocks[-1]["type"] == "text" and blocks[-1]["text"] != blocks[-1]["text"].rstrip():
                return "messages: final assistant content cannot end with trailing whitespace"
        looped = role == "assistant" and not last and any(b["type"] == "tool_result" for b in body["messages"][i + 1]["content"] if isinstance(b, dict))
        begun = blocks[0]["type"] if blocks else "nothing"
        if kind == "enabled" and BUDGET.match(model) and looped and i == len(body["messages"]) - 2 and begun not in ("thinking", "redacted_thinking"):
            return f"messages.{i}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{begun}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
    if pending:
        return f"messages.{len(body['messages']) - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(pending)}."
    return None


def gemini(vendor, ask, body):
    if unknown := set(body) - GEMINI_FIELDS:
        return f"Invalid JSON payload received. Unknown name \"{sorted(unknown)[0]}\": Cannot find field."
    for t in body.get("tools") or []:
        for f in t.get("functionDeclarations") or []:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", f["name"]):
                return f"Invalid function name {f['name']}: must start with a letter or an underscore and hold letters, digits, underscores, dots, colons or dashes, at most 64."
            for part in walk(f.get("parameters")):
                for name in ("$schema", "$ref", "$defs", "exclusiveMinimum", "exclusiveMaximum", "patternProperties"):
                    if name in part and (name.startswith("$") or "type" in part):
                        return f"Invalid JSON payload received. Unknown name \"{name}\" at 'tools[0].function_declarations': Cannot find field."
            if "parameters" in f and "parametersJsonSchema" in f:
                return "parameters and parametersJsonSchema are mutually exclusive"
    if not body.get("contents"):
        return "GenerateContentRequest.contents: contents is not specified"
    start = max((i for i, c in enumerate(body["contents"]) if c.get("role") in (None, "user") and any("text" in p for p in c["parts"]) and not any("functionResponse" in p for p in c["parts"])), default=0)
    pending = []
    for i, c in enumerate(body["contents"]):
        if c.get("role") not in ("user", "model", None, "function"):
            return "Please use a valid role: user, model."
        if not c.get("parts"):
            return f"GenerateContentRequest.contents[{i}].parts: contents.parts must not be empty."
        for j, p in enumerate(c["parts"]):
            if not set(p) & {"text", "functionCall", "functionResponse", "inlineData", "fileData", "executableCode", "codeExecutionResult"}:
                return f"GenerateContentRequest.contents[{i}].parts[{j}].data: required oneof field 'data' must have one initialized field"
            signed = p.get("thoughtSignature")
            if signed and signed not in vendor.seals and signed not in STAND_INS:
                return "Corrupted thought signature."
        calls = [p for p in c["parts"] if "functionCall" in p]
        answers = [p for p in c["parts"] if "functionResponse" in p]
        if len(answers) != len(pending):
            return "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
        if sorted(p["functionResponse"]["name"] for p in answers) != sorted(p["functionCall"]["name"] for p in pending):
            return "Please ensure that the function response turn names the functions of the function call turn."
        if calls and i and body["contents"][i - 1].get("role") == "model":
            return "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
        pending = calls if c.get("role") == "model" else []
        if i >= start and c.get("role") == "model" and calls and gemini_signs(ask.model) and not calls[0].get("thoughtSignature"):
            return f"Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly. Additional data, function call `default_api:{calls[0]['functionCall']['name']}`, position {i + 1}."
    if pending:
        return "Please ensure that function call turn is followed by a function response turn."
    return None
