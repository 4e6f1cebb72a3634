#!/usr/bin/env python3
"""An app as anybody has one: the official SDKs, real model names, and not a word about flyball.

Where it sends is in the environment, as the SDKs read it themselves: OPENAI_BASE_URL, OPENAI_API_KEY,
ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY. unchanged.py runs it against the provider and through flyball.
"""

import json

import anthropic
import openai

EASY = "What is the capital of France?"
HARD = "Prove step by step that the square root of 2 is irrational, then find the bug in your own proof."
ADDRESS = {
    "name": "street_of",
    "description": "The street of a person",
    "schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
}


def with_openai():
    client = openai.OpenAI(max_retries=0, timeout=30)
    for prompt in (EASY, HARD):
        answer = client.chat.completions.create(
            model="gpt-5.2", messages=[{"role": "user", "content": prompt}], temperature=0.2, user="grüße-7"
        )
        yield answer.choices[0].message.content
    stream = client.chat.completions.create(
        model="gpt-5.2",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": EASY}],
        stream=True,
        stream_options={"include_usage": True},
    )
    yield "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    tool = {"name": ADDRESS["name"], "description": ADDRESS["description"], "parameters": ADDRESS["schema"]}
    answer = client.chat.completions.create(
        model="gpt-5.2",
        messages=[{"role": "user", "content": EASY}],
        tools=[{"type": "function", "function": tool}],
        extra_body={"not_known_yet": {"b": 1.50, "a": [None, True]}},
    )
    yield answer.choices[0].message.content


def with_anthropic():
    client = anthropic.Anthropic(max_retries=0, timeout=30)
    for prompt in (EASY, HARD):
        answer = client.messages.create(
            model="claude-opus-5-5", max_tokens=2000, messages=[{"role": "user", "content": prompt}]
        )
        yield answer.content[0].text
    with client.messages.stream(
        model="claude-opus-5-5",
        max_tokens=2000,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": EASY}],
    ) as stream:
        yield "".join(stream.text_stream)
    answer = client.messages.create(
        model="claude-opus-5-5",
        max_tokens=2000,
        messages=[{"role": "user", "content": EASY}],
        tools=[{"name": ADDRESS["name"], "description": ADDRESS["description"], "input_schema": ADDRESS["schema"]}],
        extra_body={"not_known_yet": {"b": 1.50, "a": [None, True]}},
    )
    yield answer.content[0].text


for said in (*with_openai(), *with_anthropic()):
    print(json.dumps(said))
