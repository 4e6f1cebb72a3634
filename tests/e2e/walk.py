#!/usr/bin/env python3
"""What a new user does who has read the README and docs/compare.md, shadow.md and calibrate.md, from their words alone: compares arms, lets a
shadow run along, says what was good, and asks which arm is good enough; on simulated models, and with --local on a real one as well.

    tests/e2e/walk.py --flyball target/debug/flyball [--local]
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from llama import ANY_PORT, LLAMA_KEY, MODEL, ROOT, Child, Failed, NoServer, install, model_server, say, skipped

QUESTIONS = [("What is 2+2?", "4"), ("What is 3+5?", "8"), ("What is 10-7?", "3"), ("What is 6*7?", "42")]
SHADOW = """
[shadow]
share = 1.0
arm = "{arm}"
"""


LIMIT = ["--answer-tokens", "48"]


class Walk:
    """One folder, one flyball."""

    def __init__(self, flyball, folder, name, config, env):
        self.flyball, self.name = flyball, name
        self.folder = Path(folder) / name
        self.folder.mkdir()
        self.config = self.folder / "flyball.toml"
        if config:
            self.config.write_text(config)
        lines = [json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in QUESTIONS]
        (self.folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
        # Nothing of whoever runs this is read or written.
        self.env = {**os.environ, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder / "share"), **env}
        self.failed = []

    def see(self, what, good, why=""):
        say("PASS" if good else "FAIL", f"[{self.name}] {what}" + ("" if good else f": {why}"))
        if not good:
            self.failed.append(what)

    def run(self, *words):
        done = subprocess.run([self.flyball, *words], cwd=self.folder, env=self.env, text=True, capture_output=True, timeout=120)
        if done.returncode != 0:
            raise Failed(f"flyball {' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def ask(self, url, path, body):
        request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.headers, json.loads(answer.read())

    def compare(self, arms, grade):
        table = self.run("compare", "How many primes are there below 100?", "--arms", arms, *LIMIT)
        self.see("one question goes to both arms", all(arm in table for arm in arms.split(",")), table)
        out = ["--out", "answers.jsonl", "--html", "page.html"]
        told = self.run("compare", "--file", "questions.jsonl", "--arms", arms, "--grade", grade, "--keep", *LIMIT, *out, "--json")
        told = json.loads(told)
        answered = (self.folder / "answers.jsonl").read_text().splitlines()
        self.see("a file of questions is compared and its answers are there", len(answered) == len(QUESTIONS) * 2, told)
        self.see("the page stands alone", "<html" in (self.folder / "page.html").read_text())
        again = time.monotonic()
        self.run("compare", "--file", "questions.jsonl", "--arms", arms, "--grade", grade, "--keep", *LIMIT, *out)
        self.see("what was answered is not asked again", len((self.folder / "answers.jsonl").read_text().splitlines()) == len(answered), f"{time.monotonic() - again}")

    def calibrate(self, arms):
        told = self.run("calibrate", "--arms", arms, "--rules", "calibrated.toml")
        self.see("too little evidence is told as that, with what is missing", "not enough evidence" in told and "more outcomes" in told, told)
        return told

    def live(self, model, arms):
        server = Child(f"flyball ({self.name})", [self.flyball, "serve", "--config", str(self.config)], self.folder / "flyball.log", self.env)
        try:
            url, admin = server.listening()
            say_json = {"response_format": {"type": "json_object"}}
            for asked, (prompt, _) in [*((model, question) for question in QUESTIONS), ("auto", ("What is 9-4?", "5"))]:
                body = {"model": asked, "max_tokens": 40, "messages": [{"role": "user", "content": prompt + " Answer in JSON."}], **say_json}
                headers, _ = self.ask(url, "/v1/chat/completions", body)
            request = headers["x-flyball-request-id"]
            _, told = self.ask(url, "/v1/flyball/feedback", {"request": request, "thumb": "down"})
            self.see("feedback is taken", told["good"] is False and told["request"] == request, told)
            with contextlib.suppress(urllib.error.HTTPError):
                self.ask(url, "/flyball/feedback", {"request": "0192e7a0-0000-7000-8000-000000000000", "thumb": "up"})
                self.see("nobody judges what was never asked", False)
            until = time.monotonic() + 60
            while True:
                with urllib.request.urlopen(admin + "/metrics", timeout=10) as answer:
                    metrics = answer.read().decode()
                ends = [line for line in metrics.splitlines() if line.startswith("flyball_shadows_total")]
                judged = sum(float(line.rsplit(" ", 1)[1]) for line in ends if 'result="judged"' in line)
                if judged >= 1 or time.monotonic() > until:
                    break
                time.sleep(0.2)
            self.see("a shadow was asked and judged", judged >= 1, ends)
            told = self.run("learn", "status")
            self.see("the outcomes are told by who says so", all(by in told for by in ["by feedback", "by compare", "by shadow"]), told)
            self.calibrate(arms)
            told = self.run("calibrate")
            # What was asked of a model by its own name is not graded, and stands in no task.
            self.see("whose word does not count is said", self.name != "simulated" or "not count (--judged-by)" in told, told)
            self.see("what the shadow has cost is told apart", "shadow" in self.run("report", "--by", "rule"))
        finally:
            ended = server.stop()
        self.see("flyball ends with 0 when asked to", ended, server.tail())


def simulated(flyball, folder):
    walk = Walk(flyball, folder, "simulated", "", {**ANY_PORT})
    walk.compare("sim-small,sim-standard", "regex:simulated")
    walk.calibrate("sim-small,sim-standard")
    walk.config.write_text("[simulate]\nspeed = 10.0\n" + SHADOW.format(arm="sim-small"))
    walk.run("check")
    walk.live("sim-standard", "sim-small,sim-standard")
    return walk.failed


# Another name for the same model: llama.cpp answers to any.
SECOND = "second"
LOCAL = """\
[[provider]]
name = "llama"
kind = "llamacpp"
base_url = "{url}"
api_key = "env:LLAMA_KEY"

[[model]]
name = "{model}"
provider = "llama"
tier = "local"
answer_tokens_max = 48

[[model]]
name = "{second}"
provider = "llama"
tier = "local"
answer_tokens_max = 48
"""


def real(flyball, folder, url):
    """The same walk on a real model, whatever it says."""
    config = LOCAL.format(url=url, model=MODEL, second=SECOND)
    walk = Walk(flyball, folder, "local", config + SHADOW.format(arm=SECOND), {"LLAMA_KEY": LLAMA_KEY, **ANY_PORT})
    walk.run("check")
    arms = f"{MODEL},{SECOND}"
    walk.compare(arms, "number")
    walk.calibrate(arms)
    walk.live(MODEL, arms)
    return walk.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", str(ROOT / "target/debug/flyball")))
    parser.add_argument("--local", action="store_true", help="on a real local model, too")
    options = parser.parse_args()
    flyball = str(Path(options.flyball).resolve())
    try:
        with tempfile.TemporaryDirectory(prefix="flyball-walk-") as folder:
            failed = simulated(flyball, folder)
            if options.local:
                python = install()
                with model_server(python, folder) as url:
                    failed += real(flyball, folder, url)
    except NoServer as why:
        return 0 if skipped(why) and not failed else 1
    except (Failed, OSError, subprocess.TimeoutExpired) as why:
        say("FAIL", why)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
