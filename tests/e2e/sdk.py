#!/usr/bin/env python3
"""Official SDKs against a running flyball that has a local llama.cpp model and simulated models.

    sdk.py BASE_URL ADMIN_URL --flyball BIN --data-dir DIR [--key KEY] [--llama URL --llama-key KEY]

Expects a fresh ledger: it compares what the SDKs saw with everything that flyball booked. Prints PASS and FAIL
lines; the exit status is 0 only if all passed.
"""

import argparse
import json
import re
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

import anthropic
import openai

PICO = Decimal(10) ** 12
EASY = "What is the capital of France?"
HARD = "Prove step by step that the square root of 2 is irrational, then find the bug in your own proof."
HEADERS = ["request-id", "model", "provider", "effort", "tier", "task", "difficulty", "rule"]


@dataclass
class Answer:
    """What an SDK saw of one answer."""

    text: str
    usage: dict
    headers: dict

    @property
    def id(self):
        return self.headers.get("x-flyball-request-id")

    def header(self, name):
        return self.headers.get(f"x-flyball-{name}")


class Checks:
    """Counts and prints; a check that raises has failed."""

    def __init__(self, mode):
        self.mode, self.passed, self.failed = mode, 0, 0

    def that(self, what, good, detail=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        line = f"{'PASS' if good else 'FAIL'} [{self.mode}] {what}"
        print(line if good else f"{line}: {detail}", flush=True)
        return good

    def same(self, what, got, expected):
        return self.that(what, got == expected, f"{got} is not {expected}")

    def run(self, what, step):
        try:
            return step()
        except Exception:
            self.that(what, False, traceback.format_exc(limit=4))
            return None


def eventually(look, seconds=10):
    """The first true answer of `look`, or its last: bookings and metrics may follow an answer by a moment."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen or time.monotonic() > end:
            return seen
        time.sleep(0.2)


# ---- the two SDKs, each streamed and whole


def openai_usage(usage):
    details = usage.prompt_tokens_details
    cached = (details and details.cached_tokens) or 0
    written = (details and getattr(details, "cache_write_tokens", None)) or 0
    return {
        "input": usage.prompt_tokens - cached - written,
        "cached": cached,
        "cache_write": written,
        "output": usage.completion_tokens,
    }


def anthropic_usage(usage):
    return {
        "input": usage.get("input_tokens") or 0,
        "cached": usage.get("cache_read_input_tokens") or 0,
        "cache_write": usage.get("cache_creation_input_tokens") or 0,
        "output": usage.get("output_tokens") or 0,
    }


def ask_openai(client, model, prompt, limit, stream, headers):
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    raw = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_completion_tokens=limit,
        extra_headers=headers,
        **more,
    )
    if not stream:
        whole = raw.parse()
        return Answer(whole.choices[0].message.content or "", openai_usage(whole.usage), raw.headers)
    text, usage = "", None
    for chunk in raw.parse():
        for choice in chunk.choices:
            text += choice.delta.content or ""
        usage = chunk.usage or usage
    return Answer(text, openai_usage(usage) if usage else {}, raw.headers)


def ask_anthropic(client, model, prompt, limit, stream, headers):
    more = {"stream": True} if stream else {}
    raw = client.messages.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=limit,
        extra_headers=headers,
        **more,
    )
    if not stream:
        whole = raw.parse()
        text = "".join(block.text for block in whole.content if block.type == "text")
        return Answer(text, anthropic_usage(whole.usage.to_dict()), raw.headers)
    text, usage = "", {}
    for event in raw.parse():
        if event.type == "message_start":
            usage.update(event.message.usage.to_dict())
        elif event.type == "message_delta":
            usage.update({k: v for k, v in event.usage.to_dict().items() if v is not None})
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            text += event.delta.text
    return Answer(text, anthropic_usage(usage), raw.headers)


# ---- flyball's own words


class Flyball:
    """The running flyball: its addresses, its ledger, its metrics."""

    def __init__(self, options):
        self.options = options
        key = options.key or "any-key"
        self.openai = self.openai_with(key)
        self.anthropic = anthropic.Anthropic(base_url=options.base, api_key=key, max_retries=0, timeout=180)

    def openai_with(self, key, retries=0):
        base = f"{self.options.base}/v1"
        return openai.OpenAI(base_url=base, api_key=key, max_retries=retries, timeout=180)

    def get(self, url, key=None):
        request = urllib.request.Request(url)
        if key:
            request.add_header("authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def request(self, request_id):
        return json.loads(self.get(f"{self.options.base}/flyball/requests/{request_id}", self.options.key))

    def ledger(self):
        command = [self.options.flyball, "ledger", "export", "--jsonl", "--data-dir", self.options.data_dir]
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"flyball ledger export: {done.stderr}")
        # Money past 2^53 pico-dollars must not go through a float.
        return [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines() if line.strip()]

    def metrics(self):
        return samples(self.get(f"{self.options.admin}/metrics"))


def samples(text):
    """[(name, labels, value)] of a Prometheus text."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"([a-zA-Z_:]\w*(?::\w+)*)(?:\{(.*)\})? (\S+)", line)
        if match and not line.startswith("#"):
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            found.append((match[1], labels, Decimal(match[3])))
    return found


def total(metrics, name, **labels):
    return sum(v for n, has, v in metrics if n == name and labels.items() <= has.items())


def cost_pico(record):
    """The cost of a request as `GET /flyball/requests/{id}` tells it, in pico-dollars."""
    if "cost_pico_usd" in record:
        return Decimal(record["cost_pico_usd"])
    if "cost_usd" in record:
        return Decimal(str(record["cost_usd"])) * PICO
    return sum((Decimal(attempt["cost_pico_usd"]) for attempt in record["attempts"]), Decimal(0))


# ---- the checks


def answers(fly, checks):
    """Every client, streamed and whole, on routed and on real names. Gives all answers."""
    local = fly.options.local_model
    cases = [
        ("auto", EASY, 64, {}),
        ("auto:local", EASY, 32, {}),
        (local, EASY, 32, {}),
        ("sim-small", EASY, 400, {}),
        ("sim-reasoning", HARD, 1_700, {}),
        ("auto", HARD, 32, {"x-flyball-privacy": "local"}),
    ]
    seen = []
    clients = [("openai", ask_openai, fly.openai), ("anthropic", ask_anthropic, fly.anthropic)]
    for name, ask, client in clients:
        for model, prompt, limit, headers in cases:
            for stream in (False, True):
                kind = "stream" if stream else "whole"
                private = " private" if headers else ""
                what = f"{name} {kind} {model}{private}"
                got = checks.run(what, lambda: ask(client, model, prompt, limit, stream, headers))
                if got is None:
                    continue
                seen.append(got)
                checks.that(f"{what}: an answer", got.text.strip(), "it is empty")
                missing = [h for h in HEADERS if not got.header(h)]
                checks.same(f"{what}: headers", missing, [])
                checks.that(f"{what}: usage", got.usage.get("output", 0) > 0, got.usage)
                placed(fly, checks, what, model, bool(headers), got)
                if not stream:
                    checks.run(f"{what}: cost", lambda: costs(fly, checks, what, got))
    return seen


def placed(fly, checks, what, model, private, got):
    """Local stays local and is never simulated; simulated says so."""
    local = fly.options.local_model
    simulated = "x-flyball-simulated" in got.headers
    if private or model in ("auto:local", local):
        where = (got.header("provider"), got.header("model"), got.header("tier"), simulated)
        checks.same(f"{what}: stays on the local model", where, ("llama", local, "local", False))
    checks.same(f"{what}: says if it is simulated", simulated, got.text.startswith("[simulated] "))


def costs(fly, checks, what, got):
    said = got.header("cost-usd")
    if not checks.that(f"{what}: x-flyball-cost-usd", said is not None, "no such header"):
        return
    eventually(lambda: reachable(fly, got.id))
    checks.same(f"{what}: cost at /flyball/requests", cost_pico(fly.request(got.id)), Decimal(said) * PICO)


def reachable(fly, request_id):
    try:
        return fly.request(request_id)
    except urllib.error.HTTPError:
        return None


def cancelled(fly, checks):
    """A client that goes away stops the model. Gives the request's id."""

    def busy():
        metrics = fly.get(f"{fly.options.llama}/metrics", fly.options.llama_key)
        return total(samples(metrics), "llamacpp:requests_processing")

    raw = fly.openai.chat.completions.with_raw_response.create(
        model=fly.options.local_model,
        messages=[{"role": "user", "content": HARD}],
        max_completion_tokens=1_500,
        stream=True,
    )
    stream = raw.parse()
    for _ in range(4):
        next(stream)
    checks.that("cancelled stream: the model was at work", busy() > 0, "llama-server is idle")
    stream.close()
    stopped = eventually(lambda: busy() == 0, 3)
    checks.that("cancelled stream: the model stops within 3 s", stopped, "llama-server is still busy")
    return raw.headers.get("x-flyball-request-id")


def books(fly, checks, seen, extra):
    """Every request is in the ledger once, with the tokens that the SDK saw; the metrics add up to the ledger."""
    ids = [a.id for a in seen] + extra
    checks.same("request ids are unique", len(set(ids)), len(ids))
    # The tokens of a cancelled stream are counted after its client has gone.
    eventually(lambda: set(ids) <= {row["request"] for row in fly.ledger() if row["outcome"] != "open"})
    rows = fly.ledger()
    times = Counter(row["request"] for row in rows)
    off = {i: times[i] for i in ids if times[i] != 1}
    checks.same("ledger: each request exactly once", off, {})
    checks.same("ledger: nothing else", sorted(set(times) - set(ids)), [])
    by_id = {row["request"]: row for row in rows}
    wrong = {
        a.id: (booked, a.usage)
        for a in seen
        if (booked := {k: by_id.get(a.id, {}).get("tokens", {}).get(k, 0) for k in a.usage}) != a.usage
    }
    checks.same("ledger: tokens equal the SDK's usage (booked, seen)", wrong, {})
    booked = sum(Decimal(row["cost_pico_usd"]) for row in rows)
    checks.that("ledger: something cost money", booked > 0, "all costs are 0")
    metrics(fly, checks, rows, booked)


def metrics(fly, checks, rows, booked):
    requests = len({row["request"] for row in rows})
    eventually(lambda: total(fly.metrics(), "flyball_requests_total") >= requests)
    now = fly.metrics()
    checks.same("metrics: requests equal the ledger's", total(now, "flyball_requests_total"), requests)
    cost = total(now, "flyball_cost_usd_total") * PICO
    # Prometheus counters are 64-bit floats: 53 bits of precision, lost a little at each addition.
    close = abs(cost - booked) <= max(Decimal(1), booked * Decimal("1e-12") * (requests + 1))
    checks.that("metrics: cost equals the ledger's", close, f"{cost} is not {booked} pico-dollars")
    for group in ("input", "cached", "cache_write", "output"):
        counted = total(now, "flyball_tokens_total", **{"class": group})
        if group == "output":  # the metric's classes do not overlap: reasoning is apart
            counted += total(now, "flyball_tokens_total", **{"class": "reasoning"})
        expected = sum(row["tokens"].get(group, 0) for row in rows)
        checks.same(f"metrics: {group} tokens equal the ledger's", counted, expected)


def refusals(fly, checks):
    """What must not be answered. After the books: a refusal reserves nothing, so the ledger does not know it."""
    whole = {"prompt": EASY, "limit": 32, "stream": False}
    private = {"x-flyball-privacy": "local"}
    refused(
        checks,
        "a private request for a simulated model",
        403,
        lambda: ask_openai(fly.openai, "sim-small", headers=private, **whole),
    )
    refused(
        checks,
        "a model that nobody has",
        404,
        lambda: ask_anthropic(fly.anthropic, "no-such-model", headers={}, **whole),
    )
    if fly.options.mode == "open":
        foreign = {"origin": "https://elsewhere.example"}
        refused(checks, "a foreign origin", 403, lambda: ask_openai(fly.openai, "auto", headers=foreign, **whole))
        return
    stranger = fly.openai_with("not-a-key")
    refused(checks, "a wrong key", 401, lambda: ask_openai(stranger, "auto", headers={}, **whole))
    if fly.options.poor_key:
        over_cap(fly, checks)


def over_cap(fly, checks):
    """Two retries are the SDK's default: it must be told not to."""
    poor = fly.openai_with(fly.options.poor_key, retries=2)
    what = "a request over its cap"
    why = refused(checks, what, 402, lambda: ask_openai(poor, "sim-reasoning", HARD, 1_700, False, {}))
    if why is not None:
        told = (why.response.headers.get("x-should-retry"), why.code)
        checks.same(f"{what}: says not to retry", told, ("false", "flyball_cap"))
        tries = why.response.request.headers.get("x-stainless-retry-count")
        checks.same(f"{what}: sent once", tries, "0")


def refused(checks, what, status, ask):
    try:
        got = ask()
    except (openai.APIStatusError, anthropic.APIStatusError) as why:
        checks.same(f"{what} is refused", why.status_code, status)
        named = why.response.headers.get("x-flyball-request-id")
        checks.that(f"{what}: has a request id", named, "no x-flyball-request-id")
        return why
    except Exception as why:
        checks.that(f"{what} is refused", False, repr(why))
        return None
    checks.that(f"{what} is refused", False, f"answered by {got.header('model')}: {got.text[:60]!r}")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="http://HOST:PORT of the traffic listener")
    parser.add_argument("admin", help="http://HOST:PORT of the admin listener")
    parser.add_argument("--flyball", required=True, help="the binary, for ledger export")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--mode", choices=["open", "keys"], default="open")
    parser.add_argument("--key", help="a virtual key; without one, open mode is assumed")
    parser.add_argument("--poor-key", help="a virtual key whose cap allows nothing")
    parser.add_argument("--llama", help="the model server itself, to see it stop")
    parser.add_argument("--llama-key", default="")
    parser.add_argument("--local-model", default="gemma3-270m")
    options = parser.parse_args()
    fly, checks = Flyball(options), Checks(options.mode)
    seen = answers(fly, checks)
    extra = []
    if options.llama:
        gone = checks.run("cancelled stream", lambda: cancelled(fly, checks))
        extra = [gone] if gone else []
    checks.run("books", lambda: books(fly, checks, seen, extra))
    checks.run("refusals", lambda: refusals(fly, checks))
    print(f"{checks.passed} passed, {checks.failed} failed [{options.mode}]", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
