"""The command line: where data and errors go, exit codes, hints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from homeserver.cli import hansa, run_command
from homeserver.config.pages import reference_page

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in an empty folder: its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments: str) -> tuple[int, str, str]:
        code = run_command(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_here


def commands() -> list[tuple[str, ...]]:
    """Every command and group there is."""
    found: list[tuple[str, ...]] = [()]
    for name, command in hansa.commands.items():
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words, "--help")
    assert (code, err) == (0, "")
    assert "Usage: " in out and len(out.splitlines()) > 4


@pytest.mark.parametrize("words", [("config",), ("db",), ()])
def test_groups_show_examples(run: Run, words: tuple[str, ...]) -> None:
    assert "Examples:" in run(*words, "--help")[1]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("confg",), "did you mean `hansa config`?"),
        (("config", "shwo"), "did you mean `hansa config show`?"),
        (("config", "check", "--jsn"), "type `hansa config check --help`"),
        (("zzz",), "type `hansa --help`"),
    ],
)
def test_misuse_is_exit_two_with_a_hint(run: Run, words: tuple[str, ...], hint: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and hint in err


def test_a_wrong_configuration_is_exit_one_with_line_and_hint(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hansa.toml").write_text("[federation]\nrequest_timeout = 3\n")
    code, out, err = run("config", "check")
    assert (code, out) == (1, "")
    assert err == (
        "error: hansa.toml:2: `federation.request_timeout` is not an option\n"
        "hint: did you mean `federation.request_timeout_s`?\n"
    )


def test_the_file_is_named_by_option_or_variable(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "other.toml"
    file.write_text("server_name = 'one.example'")
    assert "one.example" in run("--config", str(file), "config", "check")[2]
    monkeypatch.setenv("HANSA_CONFIG", str(file))
    assert "one.example" in run("config", "check")[2]


def test_config_show_prints_data_for_people_and_programs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_REGISTRATION__SHARED_SECRET", "canary-canary")
    text, data = run("config", "show")[1], run("config", "show", "--json")[1]
    assert json.loads(data)["registration"]["shared_secret"] == "<secret>"
    assert 'shared_secret = "<secret>"  # HANSA_REGISTRATION__SHARED_SECRET' in text
    assert "canary" not in text + data


def test_config_docs_is_the_reference(run: Run) -> None:
    assert run("config", "docs")[1] == reference_page()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(run: Run, shell: str) -> None:
    assert "_HANSA_COMPLETE" in run("completion", shell)[1]


@pytest.mark.slow
def test_database_commands_on_a_database_of_ones_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="hansa-cli-"))
    monkeypatch.setenv("HANSA_DATA_DIR", str(folder / "data"))
    try:
        assert {state["applied"] for state in json.loads(run("db", "status", "--json")[1])} == {False}
        assert run("db", "migrate")[2].endswith("the schema is up to date\n")
        assert {state["applied"] for state in json.loads(run("db", "status", "--json")[1])} == {True}
        assert "missing" not in run("db", "status")[1]
    finally:
        shutil.rmtree(folder)


def test_a_database_that_does_not_answer_is_said_with_a_hint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_DATABASE__DSN", "postgresql://hansa@/hansa?host=/nonexistent")
    code, out, err = run("db", "status")
    assert (code, out) == (1, "")
    assert "hint: type `hansa doctor`" in err
