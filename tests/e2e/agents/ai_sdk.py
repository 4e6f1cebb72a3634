"""The Vercel AI SDK, 5 and 6, with an agent's loop and one tool (ai_sdk.mjs). Its OpenAI provider keeps answers at the vendor and names their parts in the next step."""

import shutil
from pathlib import Path

from kit import Case, npm

NAME = "ai-sdk"
PACKAGES = {
    5: ["ai@5.0.277", "@ai-sdk/openai@2.0.131", "@ai-sdk/anthropic@2.0.112", "@ai-sdk/google@2.0.108"],
    6: ["ai@6.0.326", "@ai-sdk/openai@3.0.141", "@ai-sdk/anthropic@3.0.140", "@ai-sdk/google@3.0.141"],
}
# (upstream, model, the SDK's provider, whether it is told to think)
RUNS = [
    ("responses", "gpt-6-sol", "openai", "think"),
    ("responses", "gpt-5.4", "chat", "plain"),
    ("messages", "claude-sonnet-4-5", "anthropic", "think"),
    ("gemini", "gemini-3.8-flash", "google", "think"),
    ("responses", "auto", "openai", "plain"),
    ("messages", "claude-sonnet-4-5", "openai", "think"),
    ("messages", "auto", "openai", "plain"),
    ("gemini", "gemini-3.8-flash", "openai", "think"),
    ("chat", "chat-large", "openai", "think"),
    ("deepseek", "auto", "chat", "plain"),
    ("messages", "claude-sonnet-4-5", "chat", "think"),
    ("gemini", "auto", "chat", "plain"),
    ("responses", "gpt-6-sol", "anthropic", "think"),
    ("gemini", "gemini-3.8-flash", "anthropic", "think"),
    ("chat", "auto", "anthropic", "plain"),
    ("messages", "claude-sonnet-4-5", "google", "think"),
    ("responses", "gpt-6-sol", "google", "think"),
]
OWN = {"responses": "openai", "messages": "anthropic", "gemini": "google"}
CASES = [
    Case(upstream, model, more={"sdk": sdk, "as": provider, "think": think, "how": how})
    for sdk in PACKAGES
    for upstream, model, provider, think in RUNS
    for how in ("stream", "whole")
    # Across dialects one of the two is streamed and the other whole.
    if provider == OWN.get(upstream) or how == {5: "whole", 6: "stream"}[sdk]
]


def install():
    folders = {sdk: npm(f"ai-sdk-{sdk}", *packages) for sdk, packages in PACKAGES.items()}
    for folder in folders.values():
        shutil.copy(Path(__file__).with_suffix(".mjs"), folder)
    return folders


def keeps_thoughts(case):
    # As OpenAI's client it has the vendor keep them.
    return case.more["think"] == "think" and case.more["as"] in ("anthropic", "google") and case.upstream in ("messages", "responses", "gemini")


def command(case, fly, box, folders):
    more = case.more
    return ["node", folders[more["sdk"]] / "ai_sdk.mjs", more["as"], fly.url, case.model, more["think"], more["how"], box.prompt], {"AGENT_KEY": fly.key}
