"""The sample tools: definitions that are valid, and requests that do not give the answer away."""

import re
from collections import Counter

import pytest
from jsonschema import Draft202012Validator

from workbook.context.toolbox import DEFINITIONS, SAMPLES, Sample


def test_there_are_six_groups_of_four() -> None:
    names = [sample.name for sample in SAMPLES]
    assert names == sorted(set(names), key=lambda name: (name.partition("_")[0], names.index(name)))
    assert list(Counter(sample.group for sample in SAMPLES).values()) == [4] * 6
    assert [definition["name"] for definition in DEFINITIONS] == names


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_definition_is_a_schema_and_a_request_does_not_name_its_tool(sample: Sample) -> None:
    schema = sample.definition()["parameters"]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(dict.fromkeys(sample.takes, "x"))
    assert not validator.is_valid(dict.fromkeys(sample.takes, 1)) or not sample.takes
    assert sample.name not in sample.request
    action = sample.name.partition("_")[2]
    assert not re.search(rf"\b{action}\b", sample.request.lower()), "the request says the tool's name"
