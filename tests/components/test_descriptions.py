"""The text under an option is its description, as the JSON schema and the documentation show it."""

from __future__ import annotations

from pydantic import Field

from ganzoo.components.descriptions import descriptions
from ganzoo.components.options import LossConfig, Options


class Inner(Options):
    depth: int = 1
    """How deep."""


class FirstConfig(LossConfig):
    """A loss."""

    slope: float = 0.2
    """Of the line;
    in two lines."""
    silent: int = 0
    told: int = Field(default=0, description="In the field.")
    """Not this."""
    inner: Inner = Inner()
    """A table."""


class SecondConfig(FirstConfig):
    silent: int = 1
    """Told here."""
    slope: float = 0.1


def test_text_under_an_option():
    assert descriptions(FirstConfig) == {
        "name": "The name under which the component is registered.",
        "slope": "Of the line;\nin two lines.",
        "told": "In the field.",
        "inner": "A table.",
    }


def test_text_is_inherited_with_the_option():
    found = descriptions(SecondConfig)
    assert found["slope"] == "Of the line;\nin two lines."
    assert found["silent"] == "Told here."


def test_class_without_source_has_what_it_inherits():
    namespace: dict[str, type[LossConfig]] = {"LossConfig": LossConfig}
    exec('class MadeConfig(LossConfig):\n    gain: int = 1\n    """Lost."""\n', namespace)
    assert descriptions(namespace["MadeConfig"]).keys() == {"name"}


def test_json_schema_has_the_texts():
    properties = FirstConfig.model_json_schema()["properties"]
    assert properties["slope"]["description"] == "Of the line;\nin two lines."
    assert properties["told"]["description"] == "In the field."
    assert properties["inner"]["description"] == "A table."
    assert "description" not in properties["silent"]
    assert FirstConfig.model_json_schema()["$defs"]["Inner"]["properties"]["depth"]["description"] == "How deep."
