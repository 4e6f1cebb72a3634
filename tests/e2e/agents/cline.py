"""Cline's command line: speaks Chat Completions, Messages, generateContent or Responses, by the provider that its settings name."""

from kit import Case, npm

NAME = "cline"
PACKAGE = "cline@3.0.65"
PATHS = {"openai-compatible": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "openai-native": "/v1"}

CASES = [
    Case("chat", "chat-large", more={"as": "openai-compatible"}),
    Case("deepseek", "deepseek-v4-pro", more={"as": "openai-compatible"}),
    Case("messages", "auto", more={"as": "openai-compatible"}),
    Case("messages+responses+gemini", "auto", more={"as": "openai-compatible"}),
    Case("messages", "claude-opus-5-5", more={"as": "openai-compatible"}),
    Case("gemini", "auto", more={"as": "openai-compatible"}),
    # Gemini by its own name at Chat Completions is left out: the agent drops Google's signatures, which fails at Google itself too, and a
    # model that is asked for by name gets the client's own bytes.
    # Its searches, and its tool that makes pictures, are on by default: under a cap a routed request lets them go, and so does one that
    # goes to another dialect. By a model's own name they are refused there, as docs/caps.md says.
    Case("messages", "auto", more={"as": "anthropic"}),
    Case("responses", "gpt-6-sol", more={"as": "anthropic"}),
    Case("responses", "auto", more={"as": "openai-native"}),
    # Without the vendor's own web search, whose cost nobody can bound and which other vendors do not have.
    Case("messages", "claude-sonnet-4-5", more={"as": "anthropic", "search": False}),
    Case("messages", "claude-opus-5-5", more={"as": "anthropic", "search": False}),
    Case("gemini", "gemini-3.8-flash", more={"as": "gemini", "search": False}),
    Case("responses", "gpt-6-sol", more={"as": "anthropic", "search": False}),
    Case("gemini", "gemini-3.8-flash", more={"as": "anthropic", "search": False}),
    Case("messages", "claude-sonnet-4-5", more={"as": "gemini", "search": False}),
    Case("responses", "auto", more={"as": "anthropic", "search": False}),
]


def install():
    return npm("cline", PACKAGE) / "node_modules/.bin/cline"


def command(case, fly, box, cline):
    # What `cline auth` writes; its flag for the address is for some of the providers only.
    name = case.more["as"]
    settings = {"provider": name, "apiKey": fly.key, "model": case.model, "baseUrl": fly.url + PATHS[name]}
    entry = {"settings": settings, "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}
    box.write(".cline/data/settings/providers.json", {"version": 1, "lastUsedProvider": name, "modes": {}, "providers": {name: entry}})
    search = {} if case.more.get("search", True) else {"tools": {"web_search": {"enabled": False}}}
    box.write(".cline/data/settings/global-settings.json", {"telemetryOptOut": True, "autoUpdateEnabled": False, **search})
    return [cline, box.prompt], {}
