"""Templates: JSON stays JSON whatever the values are, and what is not known is told."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.sinks.templates import Template, TemplateError, read_template

TEXTS = st.text(max_size=20) | st.sampled_from(['"', "\\", '","admin":true,"x":"', "{{b}}", "\n"])
VALUES = (
    TEXTS
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
    | st.lists(TEXTS, max_size=3)
)
NAMES = ("a", "b", "target.profit_pct")
#: What a JSON template is made of: each leaf is a placeholder, a text around some, or a constant.
LEAVES = (
    st.sampled_from([f"<{name}>" for name in NAMES])
    | st.builds("{}<{}>{}".format, st.text(max_size=5), st.sampled_from(NAMES), st.text(max_size=5))
    | st.integers()
    | st.none()
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def as_text(value: object) -> str:
    """Return what a value is within a text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return ",".join(value) if isinstance(value, list) else json.dumps(value)


def written(tree: object) -> str:
    """Return a tree as a template: a leaf that is a placeholder alone is one without quotes."""
    text = json.dumps(tree)
    text = re.sub(r'"<([a-z_.]+)>"', r"{{\1}}", text)
    return re.sub(r"<([a-z_.]+)>", r"{{ \1 }}", text)


def filled(tree: object, values: dict[str, object]) -> object:
    """Return the tree with the values in place: what the rendered template must mean."""
    if isinstance(tree, str):
        if alone := re.fullmatch(r"<([a-z_.]+)>", tree):
            return values[alone[1]]
        return re.sub(r"<([a-z_.]+)>", lambda hole: as_text(values[hole[1]]), tree)
    if isinstance(tree, list):
        return [filled(inner, values) for inner in tree]
    if isinstance(tree, dict):
        return {filled(key, values): filled(inner, values) for key, inner in tree.items()}
    return tree


def is_plain(tree: object) -> bool:
    """Whether nothing but the leaves looks like a placeholder, and no key holds one."""
    if isinstance(tree, dict):
        return all("<" not in key and "{{" not in key for key in tree) and all(
            map(is_plain, tree.values())
        )
    if isinstance(tree, list):
        return all(map(is_plain, tree))
    return not isinstance(tree, str) or ("{" not in tree and "}" not in tree)


@given(TREES.filter(is_plain), st.tuples(VALUES, VALUES, VALUES))
def test_a_json_template_means_the_same_tree_with_the_values_in_place(tree, three):
    """No value ends a string, adds a field or changes anything but its own place."""
    values = dict(zip(NAMES, three, strict=True))
    template = read_template(written(tree), NAMES)
    assert template.is_json or not isinstance(tree, dict | list)
    if template.is_json:
        assert json.loads(template.render(values)) == filled(tree, values)


@given(st.text('{}[]",:a\\ 0', max_size=12), st.text('{}[]",:a\\ 0', max_size=12), VALUES)
def test_whatever_is_taken_for_json_gives_json(before, after, value):
    """Of any text around a placeholder: what is read as JSON renders to JSON with any value."""
    try:
        template = read_template(before + "{{a}}" + after, {"a"})
    except TemplateError:
        return
    if template.is_json:
        json.loads(template.render({"a": value}))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1{{a}}}', "{{{a}}: 1}", '{"a": {{a}}{{a}}}', '{"a": "{{a}}}', '{"a": {{a}},}',
        "[{{a}}", '{"a": \\{{a}}}',
    ],
)  # fmt: skip
def test_what_looks_like_json_and_is_none_is_refused(text):
    """A place that would take some values and not others is no place."""
    with pytest.raises(TemplateError, match="begins like JSON and is none"):
        read_template(text, {"a"})


@given(st.text(max_size=10).filter(lambda text: "{" not in text and "}" not in text), TEXTS)
def test_in_plain_text_a_value_is_one_line(words, value):
    """Nobody can add a line to a text."""
    text = f"go {words}: {{{{a}}}}"
    rendered = read_template(text, {"a"}).render({"a": value})
    assert rendered.count("\n") == words.count("\n")
    assert len(rendered.splitlines()) == max(1, len(f"go {words}: x".splitlines()))


def test_an_unknown_placeholder_is_told_with_the_nearest():
    """And without one near, with all there are."""
    with pytest.raises(TemplateError, match=re.escape("{{sid}}; did you mean {{side}}?")):
        read_template('{"x": "{{sid}}"}', {"side", "symbol"})
    with pytest.raises(TemplateError, match="known are side, symbol"):
        read_template("{{0815}}", {"side", "symbol"})


def test_there_are_no_expressions():
    """What other template languages would run is an unknown name here."""
    for text in ("{{side|upper}}", "{{side.__class__}}", "{{7*7}}", "{{}}"):
        with pytest.raises(TemplateError, match="unknown placeholder"):
            read_template(text, {"side"})
    assert read_template("say {% if x %}", set()).render({}) == "say {% if x %}"


def test_an_empty_template_and_a_number_that_json_lacks_are_refused():
    """Neither is sent as it is."""
    with pytest.raises(TemplateError, match="is empty"):
        read_template(" \n", set())
    with pytest.raises(TemplateError, match="no number in JSON"):
        read_template('{"a": {{a}}}', {"a"}).render({"a": float("nan")})


def test_a_value_is_never_read_as_a_template():
    """A value that looks like a placeholder stays what it is."""
    template = read_template('{"a": "{{a}}", "b": {{b}}}', {"a", "b"})
    assert isinstance(template, Template)
    assert json.loads(template.render({"a": "{{b}}", "b": "{{a}}"})) == {"a": "{{b}}", "b": "{{a}}"}
