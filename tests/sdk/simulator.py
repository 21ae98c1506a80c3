"""A running `cofferdam simulate`, for the tests beside this file."""

import os
import subprocess
import sys
import tempfile
import unittest

_BINARY = ""


class Simulator:
    """Plays a script until the end of its `with` block."""

    def __init__(self, script, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "script.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        self.process = subprocess.Popen(
            [_BINARY, "simulate", path, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http://127.0.0.1:"):
            self.process.kill()
            raise AssertionError(f"no address: {self.url!r} {self.process.stderr.read()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        self.process.stderr.close()
        self.folder.cleanup()


def run_tests(sdk):
    """Runs the tests of the program that calls this: PROGRAM BINARY."""
    global _BINARY
    _BINARY = os.path.abspath(sys.argv.pop(1))
    # Neither the user's key nor a profile on disk takes part.
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "OPENAI_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        os.environ["XDG_CONFIG_HOME"] = home
        print(f"{sdk.__name__} {sdk.__version__}, Python {sys.version.split()[0]}")
        unittest.main(verbosity=2)
