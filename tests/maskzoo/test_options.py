"""Fields of dataclasses of options: a default, a sentence of help, a heading."""

from dataclasses import dataclass, fields

from maskzoo.options import setting


@dataclass(frozen=True)
class Options:
    size: int = setting(3, "pixels per axis", group="sizes")
    weights: dict[str, float] = setting({"a": 1.0}, "weight of each term")


def test_fields_have_defaults_and_help():
    assert Options().size == 3
    size, weights = fields(Options)
    assert size.metadata["help"] == "pixels per axis"
    assert (size.metadata["group"], weights.metadata["group"]) == ("sizes", None)


def test_defaults_that_can_change_are_not_shared():
    Options().weights["b"] = 2.0
    assert Options().weights == {"a": 1.0}
