#!/usr/bin/env python3
"""Compares the embedded price catalogue with a second one, genai-prices, and fails on a difference that is not in the list below.

prices.py --catalogue src/data/prices.json --second genai-prices-0.2.3.json
Base rates only: input, cached input and output of an ordinary request, of models that both know by the same name.
"""
import argparse
import json
import sys
from decimal import Decimal

# Known differences, each with its reason (checked 2026-11).
KNOWN = {
    ("deepseek", "deepseek-chat"): "retired; the two sources stopped at different prices",
    ("deepseek", "deepseek-reasoner"): "retired; the two sources stopped at different prices",
    ("deepseek", "deepseek-v3.2"): "retired; the two sources stopped at different prices",
    ("deepseek", "deepseek-flash"): "ours is the peak price, theirs the off-peak one",
    ("deepseek", "deepseek-v4-flash"): "ours is the peak price, theirs the off-peak one",
    ("deepseek", "deepseek-v4-pro"): "ours is the peak price, theirs the off-peak one",
    ("mistral", "mistral-large-4"): "ours is the dearer one",
    ("groq", "openai/gpt-oss-safeguard-20b"): "cached input .037 and .0375, a rounding",
    ("xai", "grok-code-fast-1"): "ours is the dearer one",
    ("openai", "gpt-4o-mini-tts"): "audio output, 10 and 12",
    ("mistral", "mistral-embed"): "an embedding has no output",
}
PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "google": "gemini", "deepseek": "deepseek", "mistral": "mistral", "groq": "groq", "x-ai": "xai"}


def base(prices, day):
    """The prices of a model on that day that hold at any hour, and the days on which they change after it."""
    if not isinstance(prices, list):
        return prices, []
    begins = lambda p: (p.get("constraint") or {}).get("start_date", "")
    plain = [p for p in prices if not p.get("constraint") or begins(p)]
    now = [p for p in plain if begins(p) <= day]
    return (now[-1]["prices"] if now else {}), [begins(p) for p in plain if begins(p) > day]


def rate(prices, key):
    value = prices.get(key)
    if isinstance(value, dict):
        value = value["base"]
    return None if value is None else int(Decimal(str(value)) * 10**6)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--catalogue", required=True)
    args.add_argument("--second", required=True)
    args = args.parse_args()
    catalogue = json.load(open(args.catalogue))
    ours = {(m["provider"], m["model"]): m["rates"] for m in catalogue["models"]}
    # Compared as of the day on which ours was made: later changes are told, they are no mistakes of it yet.
    day = catalogue.get("made", "")[:10]
    second = json.load(open(args.second))
    providers = second if isinstance(second, list) else second.get("providers", second)
    if isinstance(providers, dict):
        providers = list(providers.values())
    shared, different, new = 0, 0, []
    for provider in providers:
        name = PROVIDERS.get(provider.get("id"))
        for model in provider.get("models", []) if name else []:
            key = (name, model["id"])
            mine = ours.get(key)
            if mine is None:
                continue
            theirs, changes = base(model.get("prices", {}), day)
            for change in changes:
                print(f"{name} {model['id']}: changes its price on {change}; refresh the catalogue then")
            shared += 1
            pairs = [
                ("input", mine["input"], rate(theirs, "input_mtok")),
                ("output", mine["output"], rate(theirs, "output_mtok")),
                ("cached", mine.get("cached", mine["input"]), rate(theirs, "cache_read_mtok")),
            ]
            wrong = [f"{what} {a / 1e6:g} and {b / 1e6:g}" for what, a, b in pairs if b is not None and a != b]
            if wrong:
                different += 1
                reason = KNOWN.get(key)
                print(f"{name} {model['id']}: {', '.join(wrong)} $/M ({reason or 'NEW'})")
                if reason is None:
                    new.append(key)
    print(f"{shared} models in both, {different} differ, {len(new)} of them unexpectedly")
    return 1 if new or shared < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
