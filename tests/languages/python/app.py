"""The conformance project in Python. `wit/probe.wit` says what each function is for."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.probe import Problem_Failed, Problem_InvalidInput, Problem_Unavailable
from wit_world.imports import outgoing_handler, wasi_config_store, wasi_keyvalue_store
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import ErrorCode_HttpRequestDenied, Fields, OutgoingRequest, Scheme_Http

count = 0


def access(call):
    """What `call` returns. Errors of the interfaces that it uses become a `problem`."""
    try:
        return call()
    except Err as error:
        if isinstance(error.value, (wasi_keyvalue_store.Error_AccessDenied, ErrorCode_HttpRequestDenied)):
            raise Err(Problem_Failed("access denied"))
        raise Err(Problem_Unavailable("no answer"))


def send(authority, path):
    request = OutgoingRequest(Fields())
    try:
        request.set_scheme(Scheme_Http())
        request.set_authority(authority)
        request.set_path_with_query(path)
    except Err:
        raise Err(Problem_InvalidInput("`authority` or `path` can't be part of a URL"))
    pending = access(lambda: outgoing_handler.handle(request, None))
    with pending.subscribe() as ready:
        ready.block()
    answer = pending.get().value
    if isinstance(answer, Err):
        raise answer
    return answer.value


def receive(answer):
    text = b""
    with answer.consume() as body, body.stream() as stream:
        while True:
            try:
                text += stream.blocking_read(1 << 16)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return text.decode(errors="replace")
                raise


class Probe(exports.Probe):
    def add(self, a, b):
        return (a + b + 2**31) % 2**32 - 2**31

    def echo(self, item):
        if not item.name:
            raise Err(Problem_InvalidInput("`name` is empty"))
        return item

    def counter(self):
        global count
        count += 1
        return count

    def crash(self):
        raise RuntimeError("a crash on purpose")

    def spin(self):
        while True:
            pass

    def hoard(self, mebibytes):
        return len([b"x" * (1 << 20) for _ in range(mebibytes)])

    def read_file(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise Err(Problem_Failed(str(error)))

    def remember(self, key, value):
        access(lambda: wasi_keyvalue_store.open("").set(key, value.encode()))

    def recall(self, key):
        value = access(lambda: wasi_keyvalue_store.open("").get(key))
        return None if value is None else value.decode()

    def setting(self, key):
        return access(lambda: wasi_config_store.get(key))

    def fetch(self, authority, path):
        answer = access(lambda: send(authority, path))
        return access(lambda: receive(answer))
