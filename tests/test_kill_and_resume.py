"""The short version of ``python tests/kill_and_resume.py``."""

from pathlib import Path

from kill_and_resume import kill_and_resume


def test_killed_runs_end_with_the_numbers_of_an_undisturbed_one(tmp_path: Path) -> None:
    outcome = kill_and_resume(tmp_path, kills=3)
    assert outcome.kills == outcome.resumes == 3
    assert outcome.identical == outcome.runs
