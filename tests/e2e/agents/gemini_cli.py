"""Gemini CLI: speaks generateContent, always streamed, with thoughts and their signatures; named by alias it asks a small model which one to use."""

from kit import Case, npm

NAME = "gemini-cli"
PACKAGE = "@google/gemini-cli@0.61.0"
# It takes `auto` for an alias of its own, so flyball's is reached by a name that is intercepted.
ROUTED = {"config": 'intercept = ["gemini-*"]'}

CASES = [
    Case("gemini", "gemini-3.8-flash"),
    Case("gemini", "gemini-2.5-flash"),
    Case("gemini", "default"),
    Case("gemini", "gemini-3.8-flash", more=ROUTED),
    Case("gemini", "auto:best"),
    Case("messages", "claude-sonnet-4-5"),
    Case("messages", "claude-opus-5-5"),
    Case("messages", "default", more=ROUTED),
    Case("messages+responses+gemini", "auto:best"),
    Case("responses", "gpt-5.4"),
    Case("responses", "gpt-6-sol"),
    Case("chat", "chat-large"),
    Case("deepseek", "deepseek-v4-pro"),
]


def install():
    return npm("gemini-cli", PACKAGE) / "node_modules/.bin/gemini"


def command(case, fly, box, gemini):
    usage, update = {"usageStatisticsEnabled": False}, {"enableAutoUpdate": False}
    box.write(".gemini/settings.json", {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": usage, "general": update})
    env = {"GEMINI_API_KEY": fly.key, "GOOGLE_GEMINI_BASE_URL": fly.url}
    return [gemini, *(["--model", case.model] if case.model != "default" else []), "--yolo", "--skip-trust", "--prompt", box.prompt], env
