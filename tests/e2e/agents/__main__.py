"""Real coding agents in their default settings before flyball, on a capped key, each at a task of three steps.

    python3 tests/e2e/agents [--only TEXT] [--keep FOLDER] [AGENT...]

Runs all agents, or those named, one after the other. FLYBALL_BIN names the program under test. --only runs the cases whose
name holds the text, --keep leaves all bytes of a failed run in that folder. Prints PASS and FAIL lines; exits 1 on a failure. An
agent that cannot be installed is skipped with a word, and fails under CI=true.
"""

import argparse
import importlib
import os
import sys
import time
import traceback
from pathlib import Path

from kit import Checks, Missing, run_case

ORDER = ["claude_code", "codex", "gemini_cli", "opencode", "qwen_code", "aider", "cline", "ai_sdk"]


def main():
    here = Path(__file__).resolve().parent
    there = [name for name in ORDER if (here / f"{name}.py").exists()]
    options = argparse.ArgumentParser()
    options.add_argument("agents", nargs="*", default=there, metavar="AGENT", help=", ".join(there))
    options.add_argument("--only", default="")
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    checks, skipped = Checks(), 0
    for name in given.agents:
        began = time.monotonic()
        agent = importlib.import_module(name)
        try:
            ready = agent.install()
        except Missing as why:
            skipped += 1
            print(f"SKIPPED {name}: it cannot be installed: {why}", flush=True)
            if os.environ.get("CI") == "true":
                checks.check(f"{name} is installed", False, why)
            continue
        installed = time.monotonic() - began
        for case in agent.CASES:
            if given.only in f"{agent.NAME} {case}":
                try:
                    run_case(agent, case, ready, checks, given.keep)
                except Exception:
                    checks.check(f"[{agent.NAME}] {case}", False, traceback.format_exc(limit=4))
        print(f"== {name} took {time.monotonic() - began:.0f} s, {installed:.0f} s of them to install", flush=True)
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed or not (checks.passed or skipped) else 0)


main()
