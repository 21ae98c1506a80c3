"""What a tool can rely on, checked in every language; and the example plugins that aren't written in Rust.

    python3 tests/author/conformance.py target/debug/cofferdam [--only NAME]... [--scratch DIR] [--calls N]

Each project of tests/languages has the same functions, in another language. `cofferdam tool build` builds it, and the checks call it
through `cofferdam mcp` and `cofferdam run`. The table in host/docs/languages.md says which check passes in which language; a
difference is a failure, whether it is for better or worse.

Each plugin is prepared, tested, built, checked and called by the commands of its README, whose output must be what stands there, and
then called by a simulated model.

Projects are built in a copy. The scratch folder, `target/tools` by default, keeps toolchains, as for languages.py, and components:
those whose sources, toolchain and builder are unchanged aren't built again.
"""

import argparse
import contextlib
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import languages
from languages import LANGUAGES, PIP, ROOT, Unavailable, shell
from mcp_client import Answer, Client

PROJECTS = ROOT / "tests/languages"
PLUGINS = {"table": "python", "markdown": "javascript", "units": "typescript", "digest": "c", "diff": "go"}
# What a build leaves in a project's folder.
LEFTOVERS = [".venv", "node_modules", "build", "dist", "target", "__pycache__", "deps", "vendor", "*.wasm", "wit_*.go", "wasi_*"]
# How many calls must see nothing of one another.
CALLS = 10_000
# Where these take CI more than half a minute, with a debug build. `.ci/run --full` makes all of them in every language.
FEWER_CALLS = {"python": 1_000, "go": 1_000}
# Calls in flight. The host runs 16 calls of a tool at a time, and a client may have 64.
IN_FLIGHT = 32
# A loop ends within a second or two. Every other call with this limit takes less than a hundredth of it.
FUEL = 300_000_000


class Workshop:
    """Builds copies of projects, and remembers what was built."""

    def __init__(self, binary, scratch):
        self.binary, self.scratch = binary, scratch
        self.components = scratch / "components"
        self.components.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def copy(self, source, language):
        """A copy of the project, and the environment for commands in it."""
        with tempfile.TemporaryDirectory() as home:
            home = Path(home)
            project = home / source.name
            shutil.copytree(source, project, ignore=shutil.ignore_patterns(*LEFTOVERS))
            env = languages.environment(home, language, self.binary, self.scratch)
            # Compiled components are kept: compiling Python takes longer than all its calls.
            env["XDG_CACHE_HOME"] = str(self.scratch / "compiled")
            shell("cofferdam wit wit", project, env)
            yield project, env

    def build(self, project, source, language, env, command="cofferdam tool build"):
        """The component of a project, built unless an equal one was built before. Needs what `languages.prepare` installs."""
        key = fingerprint(source, language)
        kept = self.components / f"{source.parent.name}-{source.name}-{key}.wasm"
        if not kept.exists():
            shell(command, project, env)
            (built,) = project.glob("*.wasm")
            for old in self.components.glob(f"{source.parent.name}-{source.name}-*.wasm"):
                old.unlink()
            shutil.copy(built, kept)
        component = project / (re.search(r'component = "(.+)"', (project / "cofferdam.toml").read_text())[1])
        if not component.exists():
            shutil.copy(kept, component)
        # Once for all commands, and without their limit: a machine that also does other work can take longer for Python.
        (project / "compile.toml").write_text(
            f'[plugins.compile]\ncomponent = "{component.name}"\nlimits = {{ compile_timeout = "10m" }}\n'
        )
        shell("cofferdam tool list --quiet --config compile.toml", project, env)
        return component


def fingerprint(source, language):
    """Changes with everything that a component is made of."""
    digest = hashlib.sha256(repr([language, PIP.get(language)]).encode())
    tracked = [path for folder in [source, ROOT / "host/src/author", ROOT / "wit"] for path in sorted(folder.rglob("*"))]
    for path in [*tracked, ROOT / "Cargo.lock"]:
        relative = path.relative_to(ROOT)
        left_over = any(Path(part).match(pattern) for part in relative.parts for pattern in LEFTOVERS)
        if path.is_file() and not left_over:
            digest.update(f"{relative}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def web_server():
    """Answers every request with its path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"you asked for {self.path}".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def unused_authority():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        return f"127.0.0.1:{server.server_address[1]}"


class Subject:
    """The component of one language, served twice: as it comes, and with grants and a limit of fuel."""

    def __init__(self, component, project, env, binary, calls, upstream):
        self.binary, self.project, self.env, self.calls = binary, project, env, calls
        self.upstream, self.dead = upstream, unused_authority()
        (project / "data").mkdir()
        (project / "data/greeting.txt").write_text("Good morning")
        grants = f"""
            [plugins.probe]
            component = "{component.name}"
            deterministic = true
            keyvalue = true
            config = {{ colour = "green" }}
            files = [{{ folder = "data", at = "/data" }}]
            http = [{{ url = "http://{self.upstream}/" }}, {{ url = "http://{self.dead}/" }}]
            [plugins.probe.limits]
            fuel = {FUEL}
            """
        (project / "cofferdam.toml").write_text(grants)
        self.plain = Client(binary, ["--plugin", component.name], project, env)
        self.granted = Client(binary, ["--config", "cofferdam.toml"], project, env)
        # It takes ten seconds, so it begins first.
        self.runaway = self.plain.start("probe_spin", {})
        self.figures = {}

    def close(self):
        for client in [self.plain, self.granted]:
            client.__exit__()


def expect(answer, outcome, words=""):
    assert answer.outcome == outcome and words in answer.text, f"{answer}; expected {outcome}: {words}"
    assert answer.is_error == (outcome != "ok"), answer


def next_call_works(client):
    expect(client.call("probe_add", a=2, b=3), "ok", "5")


ITEM = {"name": "Gänseblümchen 🌼", "tags": ["a", ""], "shade": "dark", "amount": 7}


def schema(subject):
    described = [
        {key: tool.get(key) for key in ["name", "description", "inputSchema", "outputSchema", "annotations"]}
        for tool in sorted(subject.plain.tools(), key=lambda tool: tool["name"])
    ]
    expected = PROJECTS / "tools.json"
    if not expected.exists():
        expected.write_text(json.dumps(described, indent=1) + "\n")
    assert described == json.loads(expected.read_text()), json.dumps(described, indent=1)


def valid_call(subject):
    expect(subject.plain.call("probe_add", a=-2, b=2147483647), "ok", "2147483645")
    answer = subject.plain.call("probe_echo", item=ITEM)
    expect(answer, "ok")
    assert json.loads(answer.text) == ITEM, answer
    subject.figures["fuel"], subject.figures["memory"] = answer.fuel, answer.peak_memory


def invalid_input(subject):
    """More often than the breaker would allow, if it counted them."""
    for arguments, words in 3 * [({"a": 1}, '"b" is a required property'), ({"a": 1, "b": "2"}, "/b"), ({"a": 1, "b": 2**31}, "/b")]:
        expect(subject.plain.call("probe_add", **arguments), "invalid_input", words)
    next_call_works(subject.plain)


def refusal(subject):
    """The tool's own error case."""
    for _ in range(8):
        expect(subject.plain.call("probe_echo", item=ITEM | {"name": ""}), "invalid_input", "`name` is empty")
    expect(subject.plain.call("probe_echo", item=ITEM), "ok")


def crash(subject):
    expect(subject.plain.call("probe_crash"), "trapped", "The tool crashed")
    next_call_works(subject.plain)


def out_of_fuel(subject):
    expect(subject.granted.call("probe_spin"), "out_of_fuel", f"fuel = {FUEL}")
    next_call_works(subject.granted)


def runaway(subject):
    """Under the default limits, whichever comes first."""
    answer = Answer(subject.runaway.result(timeout=60))
    assert answer.outcome in ("timeout", "out_of_fuel"), answer
    next_call_works(subject.plain)


def out_of_memory(subject):
    expect(subject.plain.call("probe_hoard", mebibytes=16), "ok", "16")
    expect(subject.plain.call("probe_hoard", mebibytes=256), "out_of_memory", "memory = 128MiB")
    expect(subject.plain.call("probe_hoard", mebibytes=16), "ok", "16")


def deterministic(subject):
    first, second = [subject.granted.call("probe_echo", item=ITEM) for _ in range(2)]
    assert (first.text, first.fuel) == (second.text, second.fuel), (first, second)


def fresh_state(subject):
    """Slots are used again: by what came before, crashes among it, no call is to be seen."""
    begun, flying = time.monotonic(), []
    for number in range(subject.calls):
        flying.append(subject.plain.start("probe_counter", {}))
        if len(flying) == IN_FLIGHT or number == subject.calls - 1:
            for call in flying:
                expect(Answer(call.result(timeout=120)), "ok")
            assert {Answer(call.result()).text for call in flying} == {"1"}
            flying = []
        if number % 1000 == 500:
            subject.plain.call("probe_hoard", mebibytes=16)
    subject.figures["call"] = (time.monotonic() - begun) / subject.calls


def files(subject):
    for _ in range(2):
        expect(subject.plain.call("probe_read_file", path="/data/greeting.txt"), "failed")
    expect(subject.granted.call("probe_read_file", path="/data/greeting.txt"), "ok", "Good morning")
    expect(subject.granted.call("probe_read_file", path="/data/../cofferdam.toml"), "failed")


def key_value(subject):
    expect(subject.plain.call("probe_remember", key="colour", value="blue"), "failed", "access denied")
    expect(subject.plain.call("probe_recall", key="colour"), "failed", "access denied")
    expect(subject.granted.call("probe_recall", key="colour"), "ok", "null")
    expect(subject.granted.call("probe_remember", key="colour", value="blue"), "ok")
    expect(subject.granted.call("probe_recall", key="colour"), "ok", "blue")


def settings(subject):
    expect(subject.plain.call("probe_setting", key="colour"), "ok", "null")
    expect(subject.granted.call("probe_setting", key="colour"), "ok", "green")


def http_requests(subject):
    expect(subject.plain.call("probe_fetch", authority=subject.upstream, path="/a"), "failed", "access denied")
    expect(subject.granted.call("probe_fetch", authority=subject.upstream, path="/a?b=c"), "ok", "you asked for /a?b=c")
    expect(subject.granted.call("probe_fetch", authority=subject.dead, path="/"), "unavailable", "no answer")
    next_call_works(subject.granted)


def run_goes_on(subject):
    calls = [("probe_crash", {}), ("probe_recall", {"key": "colour"}), ("probe_add", {"a": "2"})]
    script = simulator_script([*calls, ("probe_add", {"a": 2, "b": 3})])
    project, env = subject.project, subject.env
    (project / "plain.toml").write_text(f'[plugins.probe]\ncomponent = "{next(project.glob("*.wasm")).name}"\n')
    answer, log = simulated_run(subject.binary, project, script, env, ["--config", "plain.toml"])
    assert answer == "The tool says 5.", (answer, log)


# In the order of the table in host/docs/languages.md.
CHECKS = {
    "schema": schema,
    "valid call": valid_call,
    "invalid input": invalid_input,
    "error case": refusal,
    "crash": crash,
    "out of fuel": out_of_fuel,
    "out of memory": out_of_memory,
    "the same twice": deterministic,
    "nothing kept between calls": fresh_state,
    "a runaway under default limits": runaway,
    "files": files,
    "key-value": key_value,
    "settings": settings,
    "HTTP": http_requests,
    "the run goes on": run_goes_on,
}


def documented():
    """What host/docs/languages.md says, by check and language."""
    text = (ROOT / "host/docs/languages.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    head = next(row for row in rows if row[0] == "check")
    columns = [name.lower() for name in head[1:]]
    assert columns == LANGUAGES, columns
    table = {row[0]: dict(zip(columns, row[1:])) for row in rows if row[0] in CHECKS}
    assert list(table) == list(CHECKS), list(table)
    return table


def check_language(language, workshop, calls, upstream):
    table, source = documented(), PROJECTS / language
    wrong = []
    with workshop.copy(source, language) as (project, env):
        (project / "cofferdam.toml").write_text('component = "probe.wasm"')
        languages.prepare(language, project, workshop.scratch, env, f"probe-{language}")
        component = workshop.build(project, source, language, env)
        subject = Subject(component, project, env, workshop.binary, calls, upstream)
        try:
            for name, check in CHECKS.items():
                expected = table[name][language]
                try:
                    check(subject)
                    found, reason = "yes", ""
                except AssertionError as error:
                    found, reason = "no", f": {error}"
                print(f"    {name}: {found}", flush=True)
                if found != expected:
                    wrong.append(f"{name}: {found}, but host/docs/languages.md says {expected}{reason}")
        finally:
            subject.close()
    figures = subject.figures
    print(
        f"    {component_size(workshop, source, language):.1f} MB, {figures['fuel']:,} fuel, "
        f"{figures['memory'] / 2**20:.1f} MiB, {1000 * figures['call']:.1f} ms between answers"
    )
    assert not wrong, "\n".join(wrong)


def component_size(workshop, source, language):
    kept = workshop.components / f"{source.parent.name}-{source.name}-{fingerprint(source, language)}.wasm"
    return kept.stat().st_size / 1e6


# --- The plugins


def toml(value):
    """A TOML value, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def simulator_script(calls):
    """A model that makes these calls one after the other, and then repeats what the last one answered."""
    answers = [f"[[answer]]\ntools = [{toml({'name': name, 'input': arguments})}]\n" for name, arguments in calls]
    return "\n".join([*answers, f'[[answer]]\ntext = "The tool says {{{{result:{calls[-1][0]}}}}}."\n'])


def simulated_run(binary, project, script, env, arguments=()):
    """The answer of `cofferdam run`, and what it printed besides."""
    (project / "script.toml").write_text(script)
    simulator = subprocess.Popen(
        [binary, "simulate", "script.toml"], cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = simulator.stdout.readline().strip()
        env = env | {"COFFERDAM_MODEL__PROVIDER": "simulated", "COFFERDAM_MODEL__BASE_URL": url}
        command = [binary, "run", *arguments, "A question"]
        ran = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.strip(), ran.stderr
    finally:
        simulator.terminate()
        simulator.wait()


def readme_commands(readme):
    """The commands of a README, each with the output that stands below it."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", readme, re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:].split("  #")[0].rstrip(), []))
            else:
                found[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in found]


def fetch(command, project, env):
    """A library that can't be had is a toolchain that can't; one that isn't what was pinned is a failure."""
    try:
        return shell(command, project, env)
    except AssertionError as error:
        if "FAILED" in str(error):
            raise
        raise Unavailable(error) from error


def check_plugin(name, workshop):
    source, language = ROOT / "plugins" / name, PLUGINS[name]
    with workshop.copy(source, language) as (project, env):
        left_out = languages.prepare(language, project, workshop.scratch, env, name)
        called = None
        for command, expected in readme_commands((source / "README.md").read_text()):
            if re.search(left_out, command) or command == "cofferdam wit wit":
                continue
            if command == "cofferdam tool build":
                workshop.build(project, source, language, env)
                continue
            output = fetch(command, project, env) if command == "make library" else shell(command, project, env)
            if command.startswith("cofferdam tool check"):
                # Generated texts are seldom tables or hashes, so some tools succeed in no generated call.
                warnings = [line for line in output.splitlines() if line.startswith("warning: ")]
                assert "passed" in output and all(line.endswith("[no_success]") for line in warnings), output
            elif command.startswith("cofferdam tool call"):
                assert output.strip() == expected.strip(), f"{output}\nexpected:\n{expected}"
                tool, arguments = re.fullmatch(r"cofferdam tool call (\S+) '(.*)'", command, re.S).groups()
                called = (tool.split("#")[-1], json.loads(arguments), expected)
        assert called, "the README calls no tool"
        tool, arguments, expected = called
        answer, log = simulated_run(workshop.binary, project, simulator_script([(tool, arguments)]), env)
        assert expected.strip() in answer, (answer, log)


def main():
    names = [*LANGUAGES, *PLUGINS]
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--scratch", type=Path, default=ROOT / "target/tools")
    parser.add_argument("--calls", type=int, help="how many calls must see nothing of one another")
    arguments = parser.parse_args()
    workshop = Workshop(arguments.binary.resolve(), arguments.scratch.resolve())
    with web_server() as upstream:

        def check(name):
            if name in PLUGINS:
                check_plugin(name, workshop)
            else:
                check_language(name, workshop, arguments.calls or FEWER_CALLS.get(name, CALLS), upstream)

        code = languages.run_all(arguments.only or names, check)
    sys.exit(code)


if __name__ == "__main__":
    main()
