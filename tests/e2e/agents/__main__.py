"""Real coding agents in their default settings before flyball, on a capped key, each at a task of three steps.

    python3 tests/e2e/agents [--only TEXT] [--keep FOLDER] [--jobs N] [AGENT...]

Runs all agents, or those named, two at a time: much of what they do is waiting. FLYBALL_BIN names the program under test. --only runs the cases whose
name holds the text, --keep leaves all bytes of a failed run in that folder. Prints PASS and FAIL lines; exits 1 on a failure. An
agent that cannot be installed is skipped with a word, and fails under CI=true.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
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
    options.add_argument("--jobs", type=int, default=2)
    given = options.parse_args()
    if given.jobs > 1 and len(given.agents) > 1:
        sys.exit(side_by_side(given))
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


def side_by_side(given):
    """Each agent in a process of its own, whose lines are printed when it has ended; how that went, as an exit status."""
    more = ["--only", given.only, *(["--keep", str(given.keep)] if given.keep else [])]
    passed, failed, broken = 0, 0, []

    def one(name):
        command = [sys.executable, str(Path(__file__).resolve().parent), *more, name]
        return name, subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with ThreadPoolExecutor(given.jobs) as pool:
        for done in as_completed([pool.submit(one, name) for name in given.agents]):
            name, ran = done.result()
            lines = ran.stdout.splitlines()
            told = re.fullmatch(r"(\d+) passed, (\d+) failed", lines[-1] if lines else "")
            print("\n".join(lines[:-1] if told else lines), flush=True)
            passed, failed = passed + int(told[1] if told else 0), failed + int(told[2] if told else 0)
            # With --only there may be nothing to check of this one.
            if ran.returncode != 0 and not (told and (int(told[2]) or given.only)):
                broken.append(name)
    if broken:
        print(f"FAIL these ended without a result: {', '.join(broken)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or broken or not passed else 0


main()
