"""Codex: speaks Responses, always streamed, without keeping anything at the vendor: its thoughts travel sealed."""

from kit import Case, npm

NAME = "codex"
PACKAGE = "@openai/codex@0.171.0"
# A vendor's own search on the web is on by default for models that Codex does not know; no cap can bound what it costs.
NO_SEARCH = {"settings": 'web_search = "disabled"'}
THINKS = {"settings": 'web_search = "disabled"\nmodel_reasoning_effort = "high"'}
CASES = [
    Case("responses", "gpt-5.4", more=NO_SEARCH),
    Case("responses", "gpt-6-sol"),
    Case("responses", "auto"),
    Case("responses", "auto", more=NO_SEARCH),
    Case("messages", "claude-sonnet-4-5", more=NO_SEARCH),
    Case("messages", "claude-sonnet-4-5", more=THINKS),
    Case("messages", "claude-opus-5-5", more=THINKS),
    Case("messages", "claude-opus-5-5", more=NO_SEARCH),
    Case("messages", "auto", more=NO_SEARCH),
    Case("chat", "chat-large", more=NO_SEARCH),
    Case("chat", "auto", more=NO_SEARCH),
    Case("deepseek", "deepseek-v4-pro", more=NO_SEARCH),
    Case("gemini", "gemini-3.8-flash", more=NO_SEARCH),
    # The agent as it is, with the model of its own choice, routed.
    Case("responses", "", more={"config": 'intercept = ["*"]'}),
    Case("messages", "", more={"config": 'intercept = ["*"]'}),
    Case("gemini", "", more={"config": 'intercept = ["*"]'}),
]


def install():
    return npm("codex", PACKAGE) / "node_modules/.bin/codex"


def keeps_thoughts(case):
    # Of the models that Codex does not know it asks for no effort unless it is told to.
    return case.more == THINKS or case.upstream == "gemini" or (case.upstream == "responses" and case.model != "gpt-5.4")


def command(case, fly, box, codex):
    settings = f"""\
model_provider = "flyball"
check_for_update_on_startup = false
{case.more.get("settings", "")}
{f'model = "{case.model}"' if case.model else ""}

[model_providers.flyball]
name = "flyball"
base_url = "{fly.url}/v1"
env_key = "FLYBALL_KEY"
wire_api = "responses"

[analytics]
enabled = false
"""
    box.write(".codex/config.toml", settings)
    return [codex, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", box.prompt], {"FLYBALL_KEY": fly.key}
