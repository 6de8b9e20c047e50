"""How errors look."""

from __future__ import annotations

from lsseq.errors import Interrupted, Place, Problem, RequestError, RunError, nearest, render


def test_an_error_with_its_line_and_the_nearest_right_word() -> None:
    line = "  zoneout: {cell: 0.5, hiden: 0.05}"
    place = Place("recipes/mine.yaml", line=6, column=line.index("hiden") + 1, text=line, width=5)
    error = RequestError(
        "unknown key `hiden` in model.zoneout",
        place,
        nearest("hiden", ["cell", "hidden"]),
        "see `lsseq recipes schema`",
    )
    assert render(error) == (
        "error: unknown key `hiden` in model.zoneout\n"
        "  --> recipes/mine.yaml:6\n"
        "6 |   zoneout: {cell: 0.5, hiden: 0.05}\n"
        "  |                        ^^^^^ did you mean `hidden`?\n"
        "hint: see `lsseq recipes schema`"
    )


def test_without_a_line_the_suggestion_follows_the_message() -> None:
    assert render(RequestError("no run `a`", suggestion="did you mean `b`?")) == "error: no run `a`; did you mean `b`?"
    assert render(RunError("no checkpoint", Place("runs/a"))) == "error: no checkpoint\n  --> runs/a"


def test_several_problems_are_shown_in_one_go() -> None:
    error = RequestError.of([Problem("first"), Problem("second", Place("a.yaml", 2))], hint="both")
    assert render(error) == "error: first\nerror: second\n  --> a.yaml:2\nhint: both"
    assert str(error) == render(error)


def test_a_long_line_is_cut_about_the_mark_and_control_characters_are_shown() -> None:
    line = "a" * 500 + "\x1b[31mX" + "b" * 500
    shown = render(RequestError("bad", Place("f", 1, column=506, text=line, width=1))).splitlines()
    assert len(shown[2]) < 140
    assert "\x1b" not in shown[2]
    assert shown[2][shown[3].index("^")] == "X"


def test_nothing_near_gives_no_suggestion() -> None:
    assert nearest("zzz", ["cell", "hidden"]) is None


def test_exit_codes() -> None:
    assert (RequestError.exit_code, RunError.exit_code, Interrupted.exit_code) == (2, 1, 130)
