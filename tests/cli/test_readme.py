"""What the README shows of datasets and models offline runs as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from minescale.cli import main

README = Path(__file__).parents[2] / "README.md"


def run_block(mark: str) -> None:
    """Run each line of the one README block that holds ``mark``, in the current folder."""
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    (block,) = (b for b in blocks if mark in b)
    for line in block.strip().splitlines():
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "minescale"]
        done = CliRunner().invoke(main, words[3:])
        assert done.exit_code == 0, f"{line}\n{done.output}"


def test_the_offline_dataset_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_block("--out sandbox\n")
    assert sorted(path.name for path in (tmp_path / "gmd").iterdir() if path.is_dir() and path.name != "items") == [
        "test",
        "train",
        "val",
    ]


def test_the_offline_training_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_block("minescale train")
    assert (tmp_path / "judged" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "model" / "package" / "weights.safetensors").is_file()
