"""Handles show their schema and plan, never run by themselves, and print rows when asked."""

from __future__ import annotations

import pytest

import umbel as ub
from umbel import col


def test_a_frame_shows_its_columns_and_plan(orders):
    text = repr(orders.filter(col("id") > 1).limit(2))
    assert text.splitlines()[0] == "DataFrame of 5 columns, not run yet"
    assert "  price     float64" in text.splitlines()
    assert "Filter: greater(id, 1)" in text


def test_a_dataset_shows_its_elements_and_plan(session):
    assert repr(session.from_items([("a", 1)])).startswith("Dataset of tuples (string, int64)")
    mapped = session.from_items([1]).map(lambda x: x)
    assert repr(mapped).startswith("Dataset of Python objects")
    assert "Map: lambda" in repr(mapped)


def test_html_escapes_what_users_wrote(session):
    frame = session.from_dict({"<b>": [1]}).filter(col("<b>") > 0)
    for shown in (frame._repr_html_(), session.from_items(["<i>"]).distinct()._repr_html_()):
        assert "<b>&lt;b&gt;" not in shown
        assert "<i>" not in shown
    assert "&lt;b&gt;" in frame._repr_html_()


def test_a_long_plan_is_cut(session):
    frame = session.from_dict({"a": [1]})
    for _ in range(60):
        frame = frame.limit(5)
    assert "more operators" in repr(frame)
    assert len(repr(frame).splitlines()) < 50


def test_show_prints_rows_with_types(orders, capsys):
    orders.select("id", "customer").sort("id").show(2)
    printed = capsys.readouterr().out.split()
    assert printed == ["id", "customer", "int64", "string", "1", "ann", "2", "bob", "2", "rows"]


def test_show_marks_nulls_and_takes_no_markup_from_values(session, capsys):
    session.from_dict({"a": ["[red]x[/red]", None]}).show()
    printed = capsys.readouterr().out
    assert "[red]x[/red]" in printed
    assert "null" in printed


def test_a_dataset_shows_its_elements(session, capsys):
    session.from_items(["x", "[bold]"]).show()
    assert capsys.readouterr().out == "'x'\n'[bold]'\n"


@pytest.mark.parametrize("name", ub.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    value = getattr(ub, name)
    assert name == "__version__" or (value.__doc__ and len(value.__doc__) > 10)


def test_the_list_of_public_names_is_what_can_be_had():
    assert sorted(ub.__all__) == sorted(["__version__", *ub._PUBLIC])
    assert set(dir(ub)) == set(ub.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ub.nothing
