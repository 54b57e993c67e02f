# SPDX-License-Identifier: Apache-2.0
"""`$(…)` means what ROS 2 Jazzy's launch makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_bringup import packages
from rove_bringup.substitutions import Context, SubstitutionError, evaluate, parse, perform


def performed(text: str, **arguments: str) -> str:
    return perform(parse(text), Context(arguments, {"HOME": "/home/lab"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text with 'quotes' and (parentheses)", "plain text with 'quotes' and (parentheses)"),
        ("$(var task)", "wipe"),
        ("a $(var task)/b", "a wipe/b"),
        ("$(env HOME)/bags", "/home/lab/bags"),
        ("$(env NOT_SET here)", "here"),
        ("$(env NOT_SET $(var task))", "wipe"),
        (r"\$(var task)", "$(var task)"),
        ("$(equals $(var task) wipe)", "true"),
        ("$(equals $(var task) 'wipe the board')", "false"),
        ("$(equals true 1)", "true"),
        ("$(equals 1.0 1)", "true"),
        ("$(eval \"'$(var empty)' != ''\")", "False"),
        ("$(if true yes no)", "yes"),
        ("$(if true yes $(var missing))", "yes"),
        ("$(eval \"'$(var task)' == 'wipe'\")", "True"),
        ("$(eval \"'$(var task)' in ['wipe', 'stack']\")", "True"),
        ("$(eval \"'$(var task)' not in ['wipe', 'stack']\")", "False"),
        ("$(not-equals $(var task) wipe)", "false"),
    ],
)
def test_a_text_becomes(text, expected):
    assert performed(text, task="wipe", empty="") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$(var missing)", "no such argument"),
        ("$(env NOT_SET)", "NOT_SET is not set"),
        ("$(nonsense x)", "unknown substitution `\\$\\(nonsense"),
        ("$(command ls)", "unknown substitution"),
        ("$(var  x)", "one space"),
        ("$(var 'x)", "not closed"),
        ("$(var x", r"expected `\)`"),
        ("$(equals one)", "takes 2 arguments, got 1"),
        ("$( var x)", "expected a name"),
        ("$(equals $(var empty) '')", "cannot compare with an empty text"),
        ("$(if maybe a b)", "neither true nor false"),
        ("$(var a b)", "takes 1 arguments, got 2"),
        ("$(and true true)", "unknown substitution"),
        ("$(find-pkg-share rove_contrac)", "Did you mean rove_contract"),
    ],
)
def test_an_error_says_what_is_wrong(text, message):
    with pytest.raises(SubstitutionError, match=message):
        performed(text)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "open('x')",
        "().__class__",
        "[x for x in 'ab']",
        "'a' * 9 == 'a'",
        "lambda: 1",
        "a",
        "1 +",
        "'a' == 'b' == 'c'",
        "'a' < 'b'",
    ],
)
def test_eval_runs_no_python(expression):
    with pytest.raises(SubstitutionError, match="cannot evaluate"):
        evaluate(expression)


@given(st.text(st.characters(exclude_characters="$\\")))
def test_text_without_substitutions_is_left_alone(text):
    assert performed(text) == text


@given(st.text())
def test_any_text_parses_or_is_refused_with_a_sentence(text):
    try:
        parse(f"$(var {text})")
    except SubstitutionError as error:
        assert str(error)


def test_an_editable_package_is_found_in_its_checkout():
    assert (packages.share("rove_contract") / "package.xml").is_file()
