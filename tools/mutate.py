"""Change the meaning of one line of detkit/ at a time, and see whether a test notices.

A seeded sample of mutants: lines of code are drawn with equal chances, and of each one change of its meaning
(`mutants.py`). Every mutant is written into a scratch copy of the tree and tested in a child of a warm
process, which has imported PyTorch and pytest already. Which tests execute which function is traced once and
kept in the scratch folder. Tests that call the mutated function run first, those of its own folder before the
others, then all of that folder and all that import the module.

A survivor is either a missing test or an equivalent mutant. The latter are listed in
tools/equivalent_mutants.txt: its name as it is printed here, and below it, indented, the reason.

    python tools/mutate.py --sample 150 --seed 7
    python tools/mutate.py --sample 20 --under detkit/ops --slow
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mutants import Mutant, draw, mutants_of, mutated

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tools" / "equivalent_mutants.txt"
MEMORY_BYTES = 8 << 30
LIMIT_S = 120  # of processor time, beyond ten times what the tests take
NARROW = 120  # functions that a test executes which looks at one part alone
CALLING = 400  # tests of a round, of those that execute the function
TRACED = 8  # files at a time: what is done is kept
OF_ALL = (
    "tests/config/test_defaults.py",
    "tests/test_constants.py",
    "tests/test_default_arguments.py",
)  # of the package
NOT_OURS = ("tests/house/", "tests/reliability/hostile/")  # the form of the code; bounds of whole commands

# The scratch copy.


def copy_tree(scratch: Path) -> None:
    """Bring the scratch copy up to date with the files that git knows or would add; times of change stay."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    wanted = {name for name in listed if name and (ROOT / name).is_file()}
    for old in [*scratch.rglob("*.py")]:
        if old.relative_to(scratch).as_posix() not in wanted and ".venv" not in old.parts:
            old.unlink()
    for name in wanted:
        source, target = ROOT / name, scratch / name
        if target.is_file() and stamp(target) == stamp(source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    if (ROOT / ".venv").exists() and not (scratch / ".venv").exists():
        (scratch / ".venv").symlink_to((ROOT / ".venv").resolve())


def stamp(file: Path) -> tuple[int, int]:
    """Return time of change and size."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


class Written:
    """The mutant's file in the scratch copy; afterwards the file as it was.

    Bytecode is cached under the time of change in seconds and the size: every mutant has a second of its own.
    """

    count = 0

    def __init__(self, scratch: Path, mutant: Mutant) -> None:
        self.file = scratch / mutant.path
        self.mutant = mutant

    def __enter__(self) -> bytes:
        self.source, self.stat = self.file.read_bytes(), self.file.stat()
        Written.count += 1
        self.file.write_bytes(mutated(self.source, self.mutant))
        second = int(self.stat.st_mtime) - 1000 - Written.count
        os.utime(self.file, (second, second))
        return self.source

    def __exit__(self, *error: object) -> None:
        self.file.write_bytes(self.source)
        os.utime(self.file, ns=(self.stat.st_atime_ns, self.stat.st_mtime_ns))


# Tests in children of this process.


class Tracer:
    """Plugin of pytest: which tests pass, how long each takes, which functions of detkit it executes."""

    def __init__(self, scratch: Path) -> None:
        self.prefix = f"{scratch}/"
        self.ours = f"{scratch}/detkit/"
        self.names: dict[int, tuple[str, Any]] = {}  # by identity: code objects hash all of their content
        self.seen: set[str] = set()
        self.tests: dict[str, dict[str, Any]] = {}

    def __call__(self, frame: Any, event: str, argument: object) -> None:
        """Note a function that is called, and do not look into it."""
        code = frame.f_code
        if not code.co_filename.startswith(self.ours):
            return
        known = self.names.get(id(code))
        if known is None:
            own = function_name(code.co_filename.removeprefix(self.prefix), code)
            known = ("\n".join([own, *self._compiled(code, frame.f_globals)]), code)
            self.names[id(code)] = known
        self.seen.add(known[0])

    def _compiled(
        self, code: Any, names: dict[str, Any], known: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        """The compiled loops that a function calls, and those that they call: no tracer sees them."""
        for called in code.co_names:
            function = getattr(names.get(called), "py_func", None)
            if function is not None:
                inner = function.__code__
                name = function_name(inner.co_filename.removeprefix(self.prefix), inner)
                if name not in known:
                    yield name
                    yield from self._compiled(inner, function.__globals__, known | {name})

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep how a phase of a test ended."""
        test = self.tests.setdefault(report.nodeid, {"passed": True, "seconds": 0.0, "functions": []})
        test["passed"] = test["passed"] and report.outcome != "failed"
        test["seconds"] += report.duration
        if report.when == "teardown":
            sys.settrace(None)
            test["functions"] = sorted({name for names in self.seen for name in names.split("\n")})
            self.seen.clear()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begin to trace a test."""
        import threading

        self.seen.clear()
        threading.settrace(self)
        sys.settrace(self)


def without_compiler() -> None:
    """Let Numba compile untraced: it takes many times as long otherwise."""
    from numba.core.dispatcher import Dispatcher

    compile_loop = Dispatcher.compile

    def quiet(self: Any, *arguments: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return compile_loop(self, *arguments)
        finally:
            sys.settrace(tracer)

    Dispatcher.compile = quiet


def function_name(path: str, code: Any) -> str:
    """Return file and name, of a nested function that of the outermost one."""
    return f"{path}::{code.co_qualname.split('.<locals>')[0]}"


class Chosen:
    """Plugin of pytest that runs chosen tests for a while, and keeps which one failed.

    Args:
        tests: which, and how many functions each executes; those of few run first. None is all.
        left_out: not these.
        slow: whether slow ones run.
        budget_s: seconds of processor time after which no more tests are begun.
        failed: where the name of the test that failed goes.
    """

    def __init__(
        self, tests: dict[str, int] | None, left_out: set[str], slow: bool, budget_s: float, failed: Path
    ) -> None:
        self.tests, self.left_out, self.slow = tests, left_out, slow
        self.budget_s, self.failed = budget_s, failed

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out all other tests."""
        kept = [item for item in items if item.nodeid not in self.left_out]
        kept = kept if self.tests is None else [item for item in kept if item.nodeid in self.tests]
        items[:] = [item for item in kept if self.slow or item.get_closest_marker("slow") is None]
        if self.tests is not None:
            widths = self.tests
            items.sort(key=lambda item: widths[item.nodeid] > NARROW)  # files stay together

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """End when the time is over."""
        if time.process_time() > self.budget_s:
            self.session.shouldstop = "the time of a round is over"

    def pytest_sessionstart(self, session: Any) -> None:
        """Keep what can be stopped."""
        self.session = session

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the test that failed."""
        if report.failed:
            self.failed.write_text(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        """Note the file that cannot be imported."""
        if report.failed:
            self.failed.write_text(f"import of {report.nodeid}")


def warm_up() -> None:
    """Import what all tests import, and nothing of detkit."""
    for name in (
        "torch",
        "torchvision",
        "numba",
        "cv2",
        "pytest",
        "hypothesis",
        "pydantic",
        "scipy",
        "sklearn",
    ):
        __import__(name)
    if any(name.split(".")[0] == "detkit" for name in sys.modules):
        raise SystemExit("detkit was imported by the warm process: mutants would not be seen")


def warm_package(scratch: Path) -> set[str]:
    """Import all of the package from the scratch copy, and return the functions that are called by that."""
    sys.path.insert(0, str(scratch))
    tracer = Tracer(scratch)
    sys.settrace(tracer)
    for file in sorted((scratch / "detkit").rglob("*.py")):
        name = ".".join(file.relative_to(scratch).with_suffix("").parts).removesuffix(".__init__")
        if not name.endswith("__main__"):
            importlib.import_module(name)
    sys.settrace(None)
    return {name for names in tracer.seen for name in names.split("\n")}


def swapped(mutant: Mutant, source: bytes) -> bool:
    """Give the function that is in memory the mutant's code, and return whether that can be done.

    It cannot where something else than the code of a plain function changes: a default, a class, a constant,
    a compiled loop.
    """
    function: Any = sys.modules.get(mutant.path.removesuffix(".py").replace("/", "."))
    for name in mutant.where.split("."):
        held = getattr(function, "__dict__", {}).get(name)
        for inner in ("__func__", "fget", "func", "__wrapped__"):
            held = getattr(held, inner, held)
        function = held
    if not isinstance(function, types.FunctionType):
        return False
    codes = []
    for text in (source, mutated(source, mutant)):
        code: Any = compile(text, function.__code__.co_filename, "exec", dont_inherit=True)
        for name in mutant.where.split("."):
            code = next((part for part in code.co_consts if getattr(part, "co_name", "") == name), None)
            if code is None:
                return False
        codes.append(code)
    same = function.__code__ == codes[0] and codes[0] != codes[1]
    if same and function.__code__.co_freevars == codes[1].co_freevars:
        function.__code__ = codes[1]
        return True
    return False


def in_child(scratch: Path, limit_s: float, work: Any) -> int:
    """Run a function in a forked child and return its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            become(scratch, limit_s)
            status = int(work())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status & 0xFF)
    end = time.monotonic() + 5 * limit_s  # what waits uses no processor time, and other work takes its share
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started and left behind
    return os.waitstatus_to_exitcode(ended[1])


def become(scratch: Path, limit_s: float) -> None:
    """Make this child one of the scratch copy, silent and bounded."""
    os.setsid()
    os.chdir(scratch)
    said = os.open(said_by(os.getppid(), scratch), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, stream in ((os.open(os.devnull, os.O_RDONLY), 0), (said, 1), (said, 2)):
        os.dup2(number, stream)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # may have children
    sys.path.insert(0, str(scratch))
    os.environ["PYTHONPATH"] = str(scratch)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s) + 5))


def said_by(worker: int, scratch: Path) -> Path:
    """Return where the children of a worker leave what they say."""
    return scratch / f"said-{worker}.txt"


def pytest_main(files: Iterable[str], plugin: object, *options: str) -> int:
    """Run pytest in this process."""
    import pytest

    house = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    house += [
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]  # a plugin that the warm process has imported
    return int(pytest.main([*house, *options, *files], plugins=[plugin]))


# Which tests.


def trace(scratch: Path, slow: bool, workers: int) -> dict[str, dict[str, Any]]:
    """Return what each test executes; files that have not changed since the last time are not run again.

    Without workers nothing is run, and only what is known is returned.

    What is executed decides which tests run first and is no part of the verdict: code may have moved since.
    """
    store = scratch / "traced.json"
    traced = json.loads(store.read_text()) if store.is_file() else {}
    digests = {}
    for file in [*(scratch / "tests").rglob("test_*.py"), *(scratch / "detkit").rglob("*.py")]:
        path = file.relative_to(scratch).as_posix()
        has_tests = path.startswith("tests/") or ">>> " in file.read_text(encoding="utf-8")
        if has_tests and not path.startswith(NOT_OURS):
            digests[path] = hashlib.sha256(file.read_bytes()).hexdigest() + (" slow" if slow else "")
    changed = sorted(path for path in digests if traced.get(path, {}).get("digest") != digests[path])
    batches = [(scratch, changed[at : at + TRACED], slow) for at in range(0, len(changed), TRACED)]
    if changed and workers:
        print(f"tracing the tests of {len(changed)} files", flush=True)
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            for files, tests in pool.imap_unordered(trace_files, batches):
                for path in files:
                    own = {name: test for name, test in tests.items() if file_of(name) == path}
                    traced[path] = {"digest": digests[path], "tests": own}
                store.write_text(json.dumps({path: traced[path] for path in digests if path in traced}))
    known = [traced[path]["tests"] for path in digests if traced.get(path, {}).get("digest") == digests[path]]
    return {name: test for tests in known for name, test in tests.items()}


def trace_files(batch: tuple[Path, list[str], bool]) -> tuple[list[str], dict[str, Any]]:
    """Run the tests of a few files under a tracer."""
    scratch, files, slow = batch
    kept = scratch / f"tests-{os.getpid()}.json"

    def work() -> int:
        tracer = Tracer(scratch)
        without_compiler()
        pytest_main(files, tracer, *([] if slow else ["-m", "not slow"]))
        kept.write_text(json.dumps(tracer.tests))
        return 0

    if in_child(scratch, 3600, work) != 0:
        raise RuntimeError(said_by(os.getpid(), scratch).read_text()[-3000:])
    return files, json.loads(kept.read_text())


def imported(file: Path) -> set[str]:
    """Return the files of detkit that a file imports by name, wherever it does."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {f"{module.replace('.', '/')}.py" for module in modules}


def file_of(name: str) -> str:
    """Return the file of a test or a function."""
    return name.split("::", maxsplit=1)[0]


def own_folder(scratch: Path, path: str) -> str:
    """Return the folder of tests/ that mirrors the file's own, or the nearest above it."""
    folder = Path("tests", *Path(path).parts[1:-1])
    while not (scratch / folder).is_dir():
        folder = folder.parent
    return folder.as_posix()


class Plan:
    """The tests of a mutant, in the order in which they run.

    Args:
        scratch: a copy of the tree.
        traced: what is known of tests: by name, whether they pass and which functions they execute.
    """

    def __init__(self, scratch: Path, traced: dict[str, dict[str, Any]]) -> None:
        self.scratch = scratch
        self.failing = {name for name, test in traced.items() if not test["passed"]}
        self.traced = traced.keys()
        self.traced_files = {file_of(name) for name in traced}
        self.widths = {name: len(test["functions"]) for name, test in traced.items()}
        self.by_function: dict[str, set[str]] = collections.defaultdict(set)
        for name, test in traced.items():
            for function in test["functions"]:
                self.by_function[function].add(name)
                self.by_function[file_of(function)].add(name)
        files = [*(scratch / "detkit").rglob("*.py"), *(scratch / "tests").rglob("test_*.py")]
        paths = {file.relative_to(scratch).as_posix(): file for file in files}
        imports = {path: imported(file) & paths.keys() for path, file in paths.items()}
        self.importers: dict[str, set[str]] = collections.defaultdict(set)
        for path, others in imports.items():
            for other in others:
                self.importers[other].add(path)

    def rounds(self, mutant: Mutant) -> Iterator[tuple[list[str], dict[str, int] | None]]:
        """Yield files in their order, and the tests of them; None is all.

        Of the tests that execute the function, those run first that execute few others: they look closest.
        """
        folder, distance = own_folder(self.scratch, mutant.path), self._distances(mutant.path)
        near = [file for file in distance if distance[file] == 1 or Path(file).parent.as_posix() == folder]
        near += [mutant.path] if mutant.path in self.traced_files else []
        calling = self.by_function.get(f"{mutant.path}::{mutant.where}") or self.by_function.get(
            mutant.path, set()
        )
        own_name = f"test_{Path(mutant.path).name}"

        def order(file: str) -> tuple[bool, bool, int, str]:
            return Path(file).name != own_name, not file.startswith(folder), distance.get(file, 0), file

        traced = sorted({file_of(name) for name in calling}, key=order)
        others = [file for file in traced if file not in near]
        for files in ([file for file in traced if file in near], others):
            names = [name for name in calling if file_of(name) in files]
            tests = {name: self.widths[name] for name in sorted(names, key=self.widths.__getitem__)[:CALLING]}
            with_tests = {file_of(name) for name in tests}
            yield [file for file in files if file in with_tests], tests
        yield sorted(near, key=order), None
        far = sorted((file for file in distance if file not in {*near, *self.traced_files}), key=order)
        of_all = [file for file in OF_ALL if file not in near and (self.scratch / file).is_file()]
        yield [*far, *of_all], None

    def _distances(self, path: str) -> dict[str, int]:
        """Return over how many imports each test file comes to a file of the package."""
        distance, front, steps = {path: 0}, {path}, 0
        while front:
            steps += 1
            front = {other for file in front for other in self.importers[file]} - distance.keys()
            distance |= dict.fromkeys(front, steps)
        return {
            file: steps
            for file, steps in distance.items()
            if file.startswith("tests/") and not file.startswith(NOT_OURS)
        }


# One mutant, and all of them.

STATE: dict[str, Any] = {}
CANNOT_SWAP = 77  # the status of a child that has the package in memory, and cannot change it there


def begin(folders: Any, plan: Plan, slow: bool, budget_s: float, warm: bool) -> None:
    """Give a worker its scratch copy; a warm one has all of the package in memory."""
    scratch = folders.get()
    called = warm_package(scratch) if warm else set()
    STATE.update(
        scratch=scratch, plan=plan, slow=slow, budget_s=budget_s, warm=warm, called=called, sure=set()
    )


def judge(mutant: Mutant) -> tuple[Mutant, str | None, float]:
    """Return by which test a mutant is killed, and the seconds that it took.

    The test is "" where the mutant survives, and None where a worker is needed that is not warm. A test that
    fails without the mutant, too, is left out from then on.
    """
    begun = time.monotonic()
    if STATE["warm"] and f"{mutant.path}::{mutant.where}" in STATE["called"]:
        return mutant, None, 0.0
    while True:
        killed_by = tested(mutant)
        if not killed_by or "::" not in killed_by or passes(killed_by):
            return mutant, killed_by, time.monotonic() - begun
        STATE["plan"].failing.add(killed_by)
        print(f"fails without a mutant and is left out: {killed_by}", flush=True)


def tested(mutant: Mutant) -> str | None:
    """Run the tests of a mutant; see `judge`."""
    scratch, plan, budget_s = STATE["scratch"], STATE["plan"], STATE["budget_s"]
    failed, done = scratch / "failed.txt", set(plan.failing)
    with Written(scratch, mutant) as before, tempfile.TemporaryDirectory() as fresh:
        loops = b"@compiled" in before
        for files, tests in plan.rounds(mutant):
            if not files:
                continue
            failed.unlink(missing_ok=True)
            chosen = Chosen(tests, set(done), STATE["slow"], budget_s, failed)

            def work(files: list[str] = files, chosen: Chosen = chosen) -> int:
                if STATE["warm"] and (loops or not swapped(mutant, before)):
                    return CANNOT_SWAP
                if loops:  # Numba keeps a caller's compiled code when what it calls has changed
                    import numba

                    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = fresh
                return pytest_main(files, chosen, "-x")

            status = in_child(scratch, budget_s + LIMIT_S, work)
            if status == CANNOT_SWAP:
                return None
            if failed.is_file() or status < 0 or status == 3:
                return failed.read_text() if failed.is_file() else "limit of time" if status < 0 else "pytest"
            if status not in (0, 2, 5):  # passed, out of time, none chosen
                raise RuntimeError(said_by(os.getpid(), scratch).read_text()[-3000:])
            done |= (tests or {}).keys()
    return ""


def passes(test: str) -> bool:
    """Whether a test passes without a mutant."""
    scratch, sure = STATE["scratch"], STATE["sure"]
    if test not in sure and test not in STATE["plan"].traced:
        chosen = Chosen({test: 0}, set(), STATE["slow"], STATE["budget_s"], scratch / "failed.txt")
        if in_child(scratch, STATE["budget_s"] + LIMIT_S, lambda: pytest_main([file_of(test)], chosen)) != 0:
            return False
        sure.add(test)
    return True


def judge_all(mutants: list[Mutant], workers: int, *rest: Any) -> Iterator[tuple[Mutant, str, float]]:
    """Yield the mutants as they are judged: in memory where that can be done, then the others."""
    scratch, *settings = rest
    fork = multiprocessing.get_context("fork")
    for warm in (True, False):
        folders, left = fork.Queue(), []
        for number in range(workers):
            folder = scratch.parent / str(number)
            if number and warm:
                (folder / ".venv").unlink(missing_ok=True)
                shutil.copytree(scratch, folder, symlinks=True, dirs_exist_ok=True)
            folders.put(folder)
        with fork.Pool(workers, begin, (folders, *settings, warm)) as pool:
            for mutant, killed_by, seconds in pool.imap_unordered(judge, mutants):
                if killed_by is None:
                    left.append(mutant)
                else:
                    yield mutant, killed_by, seconds
        mutants = left


def numbered(mutants: Sequence[Mutant]) -> list[str]:
    """Return the names of the mutants, with a number where a function has the same change more than once."""
    names = []
    for mutant in mutants:
        changes = mutants_of(mutant.path, (ROOT / mutant.path).read_bytes())
        same = sorted(other.start for other in changes if other.name == mutant.name)
        names.append(mutant.name + (f" #{same.index(mutant.start) + 1}" if len(same) > 1 else ""))
    return names


def read_equivalent() -> dict[str, str]:
    """Return the reasons of the mutants that no test can kill, by their names."""
    reasons = {}
    if EQUIVALENT.is_file():
        name = ""
        for line in EQUIVALENT.read_text(encoding="utf-8").splitlines():
            if line.startswith("    ") and name:
                reasons[name] = line.strip()
            elif line and not line.startswith("#"):
                name = line.strip()
    return reasons


def main() -> int:
    """Draw mutants, run them, print a table; the status is 1 where fewer are killed than is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=150, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--under", nargs="+", default=["detkit"], help="files or folders")
    parser.add_argument("--slow", action="store_true", help="run the slow tests, too")
    parser.add_argument("--workers", type=int, default=1, help="mutants at a time, each in a scratch copy")
    parser.add_argument("--budget", type=float, default=90.0, help="seconds of tests a round and mutant")
    parser.add_argument("--no-trace", action="store_true", help="go by imports alone, and by what is traced")
    parser.add_argument("--goal", type=float, default=0.95, help="share of the others to be killed")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "detkit-mutants")
    parser.add_argument("--json", type=Path, default=None, help="where the results go, too")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args()
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() not in (ROOT / "tools", ROOT)]
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

    mutants = draw(ROOT, options.under, options.sample, options.seed)
    names = dict(zip(mutants, numbered(mutants), strict=True))
    if options.list:
        print("\n".join(names.values()))
        return 0
    reasons = read_equivalent()
    warm_up()
    first = (options.scratch / "0").resolve()
    first.mkdir(parents=True, exist_ok=True)
    copy_tree(first)
    traced = trace(first, options.slow, 0 if options.no_trace else options.workers)
    plan = Plan(first, traced)
    for name in sorted(plan.failing):
        print(f"fails without a mutant and is left out: {name}")
    results = []
    settings = (first, plan, options.slow, options.budget)
    for mutant, killed_by, seconds in judge_all(mutants, options.workers, *settings):
        name = names[mutant]
        end = "killed" if killed_by else "equivalent" if name in reasons else "survived"
        results.append(
            {**asdict(mutant), "name": name, "end": end, "killed_by": killed_by, "seconds": seconds}
        )
        change = f"{' '.join(mutant.old.split())[:60]} -> {mutant.new[:60]}"
        where = f"{mutant.path}:{mutant.line}"
        print(
            f"{len(results):4} {end:10} {where} {mutant.kind}: {change}  {killed_by} ({seconds:.0f} s)",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    return summary(results, reasons, options.goal)


def summary(results: list[dict[str, Any]], reasons: dict[str, str], goal: float) -> int:
    """Print what survived, the equivalent ones with their reasons, and the share."""
    by_end = collections.Counter(result["end"] for result in results)
    for result in results:
        if result["end"] != "killed":
            print(f"\n{result['end']}: {result['name']}\n    {reasons.get(result['name'], '')}".rstrip())
        elif result["name"] in reasons:
            print(f"\nlisted as equivalent, but killed by {result['killed_by']}: {result['name']}")
    others = by_end["killed"] + by_end["survived"]
    share = by_end["killed"] / max(others, 1)
    print(f"\n{len(results)} sampled, {by_end['equivalent']} equivalent, {by_end['killed']} killed, "
          f"{by_end['survived']} survived: {share:.1%} of the others are killed")  # fmt: skip
    return int(share < goal)


if __name__ == "__main__":
    sys.exit(main())
