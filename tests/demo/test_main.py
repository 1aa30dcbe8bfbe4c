"""The demo's command, as far as it needs no Airflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import __main__ as demo


def test_outside_of_a_clone_it_says_that_it_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "EXAMPLE", tmp_path / "example_dags" / "example_mapped.py")
    with pytest.raises(SystemExit):
        demo.main(["--output", str(tmp_path)])
    assert "needs a clone of the repository" in capsys.readouterr().err
