"""Qwen Code: speaks Chat Completions, and on request Responses, Messages or generateContent, always streamed."""

from kit import Case, npm

NAME = "qwen-code"
PACKAGE = "@qwen-code/qwen-code@0.24.4"

CASES = [
    Case("chat", "chat-large", more={"as": "openai"}),
    Case("deepseek", "deepseek-v4-pro", more={"as": "openai"}),
    Case("responses", "gpt-5.4", more={"as": "openai-responses"}),
    Case("messages", "claude-sonnet-4-5", more={"as": "anthropic"}),
    Case("gemini", "gemini-3.8-flash", more={"as": "gemini"}),
    Case("messages", "claude-sonnet-4-5", more={"as": "openai"}),
    Case("messages", "claude-opus-5-5", more={"as": "openai"}),
    # Gemini by its own name at Chat Completions is left out: the agent drops Google's signatures, which fails at Google itself too, and a
    # model that is asked for by name gets the client's own bytes.
    Case("gemini", "auto", more={"as": "openai"}),
    Case("responses", "gpt-6-sol", more={"as": "openai"}),
    Case("messages", "auto", more={"as": "openai"}),
    Case("messages+responses+gemini", "auto", more={"as": "openai"}),
    Case("messages+responses+gemini", "auto", more={"as": "anthropic"}),
    Case("responses", "auto", more={"as": "anthropic"}),
    Case("gemini", "gemini-3.8-flash", more={"as": "anthropic"}),
    Case("messages", "claude-opus-5-5", more={"as": "openai-responses"}),
    Case("gemini", "auto", more={"as": "openai-responses"}),
    Case("responses", "gpt-6-sol", more={"as": "gemini"}),
]


def install():
    return npm("qwen-code", PACKAGE) / "node_modules/.bin/qwen"


def command(case, fly, box, qwen):
    name = case.more["as"]
    box.write(".qwen/settings.json", {"privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False}})
    env = {
        "openai": {"OPENAI_API_KEY": fly.key, "OPENAI_BASE_URL": f"{fly.url}/v1"},
        "openai-responses": {"OPENAI_API_KEY": fly.key, "OPENAI_BASE_URL": f"{fly.url}/v1"},
        "anthropic": {"ANTHROPIC_API_KEY": fly.key, "ANTHROPIC_BASE_URL": fly.url},
        "gemini": {"GEMINI_API_KEY": fly.key, "GOOGLE_GEMINI_BASE_URL": fly.url},
    }[name]
    return [qwen, "--auth-type", name, "--model", case.model, "--yolo", box.prompt], env | {"ANTHROPIC_MODEL": case.model, "GEMINI_MODEL": case.model, "OPENAI_MODEL": case.model}
