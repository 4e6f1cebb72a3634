"""opencode: speaks Messages, Responses, generateContent or Chat Completions, by the provider that its settings name, and has a small model make a title first."""

from kit import Case, npm

NAME = "opencode"
PACKAGE = "opencode-ai@1.18.33"
PATHS = {"anthropic": "/v1", "openai": "/v1", "google": "/v1beta", "flyball": "/v1"}

CASES = [
    Case("messages", "claude-sonnet-4-5", more={"as": "anthropic"}),
    Case("messages", "claude-opus-5-5", "claude-haiku-4-5", {"as": "anthropic"}),
    Case("responses", "gpt-5.4", more={"as": "openai"}),
    Case("responses", "gpt-6-sol", "gpt-5.4-mini", {"as": "openai"}),
    Case("gemini", "gemini-3.8-flash", more={"as": "google"}),
    Case("chat", "chat-large", more={"as": "flyball"}),
    Case("deepseek", "deepseek-v4-pro", more={"as": "flyball"}),
    Case("messages", "auto", more={"as": "flyball"}),
    Case("messages+responses+gemini", "auto", more={"as": "flyball"}),
    Case("messages+responses+gemini", "auto", "auto", {"as": "anthropic"}),
    Case("responses", "auto", "auto", {"as": "anthropic"}),
    Case("responses", "gpt-6-sol", "gpt-5.4-mini", {"as": "anthropic"}),
    Case("gemini", "gemini-3.8-flash", "gemini-3.5-flash-lite", {"as": "anthropic"}),
    Case("messages", "claude-sonnet-4-5", "claude-haiku-4-5", {"as": "openai"}),
    Case("gemini", "auto", "auto", {"as": "openai"}),
    Case("messages", "claude-opus-5-5", "claude-haiku-4-5", {"as": "google"}),
    Case("responses", "auto", more={"as": "flyball"}),
    Case("gemini", "auto", more={"as": "flyball"}),
    # Gemini by its own name at Chat Completions is left out: the agent drops Google's signatures, which fails at Google itself too, and a
    # model that is asked for by name gets the client's own bytes.
]


def install():
    return npm("opencode", PACKAGE) / "node_modules/.bin/opencode"


def command(case, fly, box, opencode):
    name = case.more["as"]
    provider = {"options": {"baseURL": fly.url + PATHS[name], "apiKey": fly.key}, "models": {case.model: {}}}
    if case.small:
        provider["models"][case.small] = {}
    if name == "flyball":
        provider["npm"] = "@ai-sdk/openai-compatible"
    settings = {"provider": {name: provider}, "autoupdate": False, "share": "disabled"}
    if case.small:
        settings["small_model"] = f"{name}/{case.small}"
    box.write(".config/opencode/opencode.json", settings)
    return [opencode, "run", "--model", f"{name}/{case.model}", "--auto", box.prompt], {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}
