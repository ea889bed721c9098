"""The command line: where data and errors go, exit codes, hints."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from homeserver.cli import run_command
from homeserver.cli.command import hansa, show_progress, typed_again
from homeserver.config.pages import reference_page
from tests.kit.postgres import PostgresForTests

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
    shown = out.partition("Examples:\n")[2]
    assert re.search(rf"^ .*\bhansa (--config \S+ )?{' '.join(words)}\b", shown, re.MULTILINE), "shows no example"


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


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["us"], {"user"}),
        (["user", "cr"], {"create"}),
        (["user", "create", "--"], {"--admin", "--password-stdin", "--help"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_what_a_shell_is_offered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: list[str], offered: set[str]
) -> None:
    """As the printed script asks the program."""
    monkeypatch.setenv("_HANSA_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["hansa", *typed]))
    monkeypatch.setenv("COMP_CWORD", str(len(typed)))
    with pytest.raises(SystemExit, match="0"):
        run_command([])
    assert {line.partition(",")[2] for line in capsys.readouterr().out.splitlines()} == offered


@pytest.mark.parametrize(
    ("called", "on_path", "file", "expected"),
    [
        ("hansa", True, None, "hansa"),
        ("hansa", False, None, "{folder}/hansa"),
        ("hansa", False, "my conf.toml", "{folder}/hansa --config 'my conf.toml'"),
        ("__main__.py", False, None, f"{sys.executable} -m homeserver"),
    ],
)
def test_the_next_command_means_the_same_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: str, on_path: bool, file: str | None, expected: str
) -> None:
    program = tmp_path / called
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program), "run"])
    monkeypatch.setenv("PATH", str(tmp_path) if on_path else "/nowhere")
    context = click.Context(hansa, obj=None if file is None else Path(file))
    assert typed_again(context) == expected.format(folder=tmp_path)


@pytest.mark.parametrize("name", ["Bad Name", "_admin", "a" * 300])
def test_a_name_is_looked_at_before_a_password_is_asked_for(run: Run, name: str) -> None:
    code, out, err = run("user", "create", name)
    assert (code, out) == (1, "") and "Password" not in err and "error: a user " in err


@pytest.mark.slow
def test_database_commands_on_a_database_of_ones_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hansa-cli-"))
    monkeypatch.setenv("HANSA_DATA_DIR", str(folder / "data"))
    try:
        assert {state["applied"] for state in json.loads(run("db", "status", "--json")[1])} == {False}
        assert run("db", "migrate")[2].endswith("the schema is up to date\n")
        assert {state["applied"] for state in json.loads(run("db", "status", "--json")[1])} == {True}
        assert "missing" not in run("db", "status")[1]
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def with_database(postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database that only this test sees, named by the environment; hashes at their lowest cost."""
    loop = asyncio.new_event_loop()
    fresh = postgres.fresh()
    monkeypatch.setenv("HANSA_DATABASE__DSN", loop.run_until_complete(fresh.__aenter__()))
    monkeypatch.setenv("HANSA_PASSWORD__MEMORY_KIB", "8")
    monkeypatch.setenv("HANSA_PASSWORD__TIME_COST", "1")
    yield
    loop.run_until_complete(fresh.__aexit__(None, None, None))
    loop.close()


@pytest.mark.usefixtures("with_database")
def test_users_are_made_listed_and_mended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text + "\n"))

    typed("correct horse")
    assert run("user", "create", "--admin", "--password-stdin", "alice")[:2] == (0, "@alice:localhost\n")
    typed("correct horse")
    code, out, err = run("user", "create", "--password-stdin", "alice")
    assert (code, out) == (1, "") and "error: this name is taken" in err
    typed("short")
    assert "at least 8 characters" in run("user", "create", "--password-stdin", "bob")[2]
    typed("battery staple")
    assert run("user", "reset-password", "--password-stdin", "@alice:localhost")[0] == 0
    typed("battery staple")
    assert "there is no such user" in run("user", "reset-password", "--password-stdin", "nobody")[2]
    listed = json.loads(run("user", "list", "--json")[1])
    assert [(user["user_id"], user["admin"], user["guest"]) for user in listed] == [("@alice:localhost", True, False)]
    assert run("user", "list")[1] == "@alice:localhost admin\n"
    code, _, err = run("user", "forget-factor", "alice")
    assert code == 1 and "alice has no second factor" in err


def test_a_database_that_does_not_answer_is_said_with_a_hint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_DATABASE__DSN", "postgresql://hansa@/hansa?host=/nonexistent")
    code, out, err = run("db", "status")
    assert (code, out) == (1, "")
    assert "hint: type `hansa doctor`" in err


class Terminal(io.StringIO):
    """Where a person looks."""

    def isatty(self) -> bool:
        return True


def test_long_work_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """To people alone, on one line that is gone at the end."""
    for output in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", output)
        for done in range(4):
            show_progress("bringing the schema up to date", done, 3)
        said = output.getvalue()
        if output.isatty():
            assert "[##########--------------------] 1/3" in said and "\n" not in said
            assert said.endswith("\r\x1b[K")
        else:
            assert said == ""
