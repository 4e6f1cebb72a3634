"""aider: speaks Chat Completions, Messages or generateContent, streamed, without tools: it reads edits from the words of the model, commits them
with a message of a small model, runs the tests and tells the model what they said."""

import json

from kit import Case, pip
from vendor import Turn

NAME = "aider"
PACKAGE = "aider-chat==0.86.2"
PROMPT = "Task {mark}: write the word one into the file one.txt and the words one and two into two.txt, each on a line of its own, until the tests pass."
TESTS = "cat one.txt two.txt && grep two two.txt"
# Each step is an edit: (file, what it holds, what it shall hold). The tests fail after the first two.
EDITS = [("one.txt", "", "one\n"), ("two.txt", "", "one\n"), ("two.txt", "one\n", "one\ntwo\n")]

CASES = [
    Case("chat", "chat-large", more={"as": "openai"}),
    Case("deepseek", "deepseek-v4-pro", more={"as": "openai"}),
    Case("responses", "gpt-5.4", more={"as": "openai"}),
    Case("messages", "claude-sonnet-4-5", more={"as": "anthropic"}),
    Case("gemini", "gemini-3.8-flash", more={"as": "gemini"}),
    Case("messages", "auto", more={"as": "openai"}),
    Case("messages+responses+gemini", "auto", more={"as": "openai"}),
    Case("messages", "claude-opus-5-5", more={"as": "openai"}),
    Case("gemini", "gemini-3.8-flash", more={"as": "openai"}),
    Case("responses", "gpt-6-sol", more={"as": "anthropic"}),
    Case("chat", "auto", more={"as": "anthropic"}),
    Case("gemini", "gemini-3.8-flash", more={"as": "anthropic"}),
    Case("messages", "claude-sonnet-4-5", more={"as": "gemini"}),
    Case("responses", "auto", more={"as": "gemini"}),
]


def install():
    return pip("aider", PACKAGE) / "aider"


def script(vendor):
    def turn(ask):
        asked = json.dumps(ask.body)
        if "commit message" in asked or vendor.mark not in asked:
            return Turn("feat: write the words")
        # aider tells what the tests said twice, so steps cannot be counted.
        last = next(text for kind, text in reversed(ask.said) if kind == "user")
        step = 0 if "And got this output" not in last else 1 if "No such file" in last else 2
        file, before, after = EDITS[step]
        text = f"<<<<<<< SEARCH\n{before}=======\n{after}>>>>>>> REPLACE\n" if "SEARCH/REPLACE" in asked else after
        return Turn(f"{file}\n```\n{text}```\n" + (f"ALL DONE {vendor.token}" if step == len(EDITS) - 1 else ""))

    return turn


def command(case, fly, box, aider):
    name = case.more["as"]
    env = {f"{name.upper()}_API_KEY": fly.key, f"{name.upper()}_API_BASE": f"{fly.url}/v1" if name == "openai" else fly.url}
    # Without the last one it wants to open its pages on models that it does not know.
    flags = ["--yes-always", "--analytics-disable", "--no-check-update", "--no-show-model-warnings"]
    return [aider, "--model", f"{name}/{case.model}", *flags, "--auto-test", "--test-cmd", TESTS, "--message", box.prompt], env
