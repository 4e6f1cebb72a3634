"""Claude Code: speaks Messages, always streamed, with thinking, cache marks and betas of its own."""

from kit import Case, npm

NAME = "claude-code"
PACKAGE = "@anthropic-ai/claude-code@2.1.332"

CASES = [
    Case("messages", "claude-sonnet-4-5", "claude-haiku-4-5"),
    Case("messages", "claude-opus-5-5", "claude-haiku-4-5"),
    Case("messages", "auto", "auto"),
    Case("responses", "gpt-5.4", "gpt-5.4-mini"),
    Case("responses", "gpt-6-sol", "gpt-5.4-mini"),
    Case("responses", "auto", "auto"),
    # The agent as it is, with the models of its own choice, all of them routed.
    Case("messages", "", more={"config": 'intercept = ["*"]'}),
    Case("messages", "", more={"config": 'intercept = ["*"]\nobjective = "cheap"'}),
    Case("responses", "", more={"config": 'intercept = ["*"]'}),
    Case("chat", "", more={"config": 'intercept = ["*"]'}),
    Case("gemini", "", more={"config": 'intercept = ["*"]'}),
    Case("chat", "chat-large", "chat-small"),
    Case("deepseek", "deepseek-v4-pro", "deepseek-v4-flash"),
    Case("gemini", "gemini-3.8-flash", "gemini-3.5-flash-lite"),
]


def install():
    return npm("claude-code", PACKAGE) / "node_modules/.bin/claude"


def keeps_thoughts(case):
    # Where it is to be cheap, nothing thinks.
    cheap = "cheap" in case.more.get("config", "")
    return case.upstream in ("messages", "responses", "gemini", "deepseek") and not cheap


def command(case, fly, box, claude):
    env = {
        "ANTHROPIC_BASE_URL": fly.url,
        "ANTHROPIC_AUTH_TOKEN": fly.key,
        **({"ANTHROPIC_MODEL": case.model, "ANTHROPIC_DEFAULT_HAIKU_MODEL": case.small} if case.model else {}),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # As root it skips permissions only where it is told that it is in a sandbox.
        "IS_SANDBOX": "1",
    }
    return [claude, "-p", box.prompt, "--dangerously-skip-permissions"], env
