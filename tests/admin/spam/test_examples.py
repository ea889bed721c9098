"""The page on spam rules says what is so: its examples hit what they say, and it names every field there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admin.spam.conditions import SCHEMA
from admin.spam.rules import ACTIONS, HOOKS, Lists, Rule, Wordlist
from admin.spam.trial import Sample, tried_on

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "spam-rules.md").read_text("utf-8")
EXAMPLES = re.findall(r"### ([^\n]*)\n\n```json\n(.*?)```", PAGE, re.DOTALL)
LISTS = Lists([Wordlist(name="bad-words", kind="words", entries=("badword", "菠菜平台"))])


@pytest.mark.parametrize(("title", "text"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_examples_hit_what_they_say(title: str, text: str) -> None:
    example: dict[str, Any] = json.loads(text)
    fields = {key: example[key] for key in ("when", "condition", "actions")}
    rule = msgspec.convert({"id": "example", "title": title, **fields}, Rule)
    samples = [msgspec.convert(sample, Sample) for sample in example["samples"]]
    assert [result["hit"] for result in tried_on(rule, LISTS, samples)] == example["expect"]
    assert set(example["expect"]) == {True, False}


def test_the_page_names_everything() -> None:
    assert len(EXAMPLES) >= 20
    names = {name for fields in SCHEMA.values() for name in fields} | set(HOOKS) | set(ACTIONS)
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []
