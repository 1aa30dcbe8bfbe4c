"""The demo's command, as far as it needs no Airflow."""

from __future__ import annotations

import pytest

from demo.__main__ import main


@pytest.mark.parametrize("given", [("--syncs", "0"), ("--slots", "-1"), ("--seconds", "-0.1"), ("--seconds", "inf")])
def test_numbers_that_make_no_sense_are_refused_before_anything_starts(
    given: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(given)
    assert left.value.code == 2
    assert f"argument {given[0]}: must be at least" in capsys.readouterr().err
