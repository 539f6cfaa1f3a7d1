"""Tables of text: aligned, Markdown, CSV."""

import csv
import math

from maskzoo.cli.tables import markdown_table, score, text_table, write_csv
from maskzoo.names import counted

ROWS = [["name", "Dice", "note"], ["a", "0.5", "x|y"], ["long name", "10.25", ""]]


def test_columns_are_aligned_to_the_side_that_is_asked_for():
    assert text_table(ROWS, left=(0, 2)).splitlines() == [
        "name        Dice  note",
        "a            0.5  x|y",
        "long name  10.25",
    ]


def test_markdown_has_a_rule_and_no_stray_bars():
    assert markdown_table(ROWS, left=(0, 2)).splitlines() == [
        "| name | Dice | note |",
        "| --- | ---: | --- |",
        "| a | 0.5 | x\\|y |",
        "| long name | 10.25 |  |",
    ]


def test_csv_is_read_back_as_it_was(tmp_path):
    rows = [{"name": "a, b", "value": 1.5}, {"name": 'c "d"', "value": None}]
    write_csv(tmp_path / "t.csv", rows)
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"name": "a, b", "value": "1.5"}, {"name": 'c "d"', "value": ""}]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_numbers_in_words_and_in_few_letters():
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [score(value) for value in (3, 0.25, math.nan, math.inf)] == ["3", "0.2500", "-", "-"]
