"""Errors of the user's code are told with the user's file and line."""

import json
import os
from pathlib import Path

import pytest

from metarl.core.errors import NumericalFault, Refusal
from metarl.core.user_code import UserCodeError, origin, user_code
from metarl.envs.family import TaskField


def told(function, *arguments) -> str:
    with pytest.raises(UserCodeError) as caught, user_code("make_env of point"):
        function(*arguments)
    assert isinstance(caught.value, Refusal) and caught.value.__cause__ is not None
    return str(caught.value)


def load(folder: Path, source: str):
    """Return the function ``act`` of a module of the user's."""
    file = folder / "mine.py"
    file.write_text(source)
    scope: dict = {}
    exec(compile(source, str(file), "exec"), scope)
    return scope["act"]


def test_the_users_line_and_not_the_library_that_it_calls(tmp_path, monkeypatch) -> None:
    act = load(tmp_path, "import json\n\ndef act():\n    json.loads('{')\n")
    assert told(act).startswith(f"make_env of point failed in {tmp_path / 'mine.py'}, line 4: JSONDecodeError: ")
    monkeypatch.chdir(tmp_path)
    assert told(act).startswith("make_env of point failed in mine.py, line 4: JSONDecodeError: ")


def test_the_innermost_of_the_users_lines(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    act = load(tmp_path, "def inner():\n    assert 1 == 2\n\ndef act():\n    inner()\n")
    assert told(act) == "make_env of point failed in mine.py, line 2: AssertionError"


def test_a_library_alone_is_told_where_no_line_is_the_users() -> None:
    with pytest.raises(ValueError) as caught:
        json.loads("{")
    libraries = caught.value.__traceback__.tb_next
    assert origin(libraries).startswith(f"{json.__path__[0]}{os.sep}decoder.py, line ")
    assert origin(None) == ""


def test_gymnasiums_own_suggestion_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    act = load(tmp_path, "import gymnasium\nact = lambda: gymnasium.make('Pendlum-v1')\n")
    assert told(act) == (
        "make_env of point failed in mine.py, line 2: NameNotFound: "
        "Environment `Pendlum` doesn't exist. Did you mean: `Pendulum`?"
    )


def test_a_syntax_error_has_a_line_of_its_own(tmp_path) -> None:
    file = tmp_path / "broken.py"
    sentence = told(compile, "x = 1\ndef family(:\n    pass\n", str(file), "exec")
    assert sentence == f"make_env of point failed in {file}, line 2: invalid syntax"


def test_messages_are_one_line_of_bounded_length() -> None:
    def fail():
        raise RuntimeError("first\n\n  second" + "!" * 1000)

    sentence = told(fail)
    assert "RuntimeError: first second!!!" in sentence and sentence.endswith("! ...") and len(sentence) < 600


def test_an_exit_is_an_error_and_an_interrupt_is_none() -> None:
    def leave():
        raise SystemExit(3)

    def interrupt():
        raise KeyboardInterrupt

    assert told(leave).endswith("SystemExit: 3")
    with pytest.raises(KeyboardInterrupt), user_code("make_env of point"):
        interrupt()


def test_what_metarl_refuses_passes_by_and_faults_stay_faults() -> None:
    with pytest.raises(Refusal) as refused, user_code("make_env of point"):
        TaskField("goal", 1, -1)
    assert not isinstance(refused.value, UserCodeError)
    with pytest.raises(NumericalFault) as fault, user_code("step of point"):
        raise FloatingPointError("too fast")
    assert str(fault.value).endswith(": FloatingPointError: too fast")
