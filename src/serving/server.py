"""The process of a server: it listens at once, loads models meanwhile, and ends in peace."""

import ipaddress
import socket
import sys
import threading
from collections.abc import Sequence

import uvicorn

from ..errors import UserError
from ..loading import Found
from .app import App


def serve(
    app: App,
    founds: Sequence[Found],
    *,
    host: str,
    port: int,
    precision: str,
    rows: int,
    most_waiting: int,
    grace: int,
) -> None:
    """Serve the models until Ctrl-C or SIGTERM, after which what runs may end in `grace` seconds.

    rows: of each model's batch, for which so many requests may wait. Raises UserError where the
    port is taken or a model cannot be loaded.
    """
    config = uvicorn.Config(
        app,
        http='h11',
        ws='none',
        log_level='error',
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace,
    )
    server, failures = uvicorn.Server(config), []

    def load() -> None:
        try:
            for found in founds:
                app.engines[found.name] = start_engine(found, precision, rows, most_waiting)
            app.ready = True
            say('ready')
        except BaseException as error:
            failures.append(error)
            server.should_exit = True

    with listen(host, port) as listener:
        say(f'http://{address(listener)}')
        threading.Thread(target=load, daemon=True).start()
        server.run(sockets=[listener])
    if failures:
        raise failures[0]


def start_engine(found: Found, precision: str, rows: int, most_waiting: int):
    """A model's engine, with all compiled, in a thread of its own."""
    model = found.load(precision)
    from .engine import Engine
    from .programs import bytes_of

    size = bytes_of(model.hparams, rows) / 2**20
    say(f'{found.name}: {rows} texts of {model.hparams.n_ctx} tokens at a time, {size:,.0f} MiB')
    engine = Engine(model, rows, most_waiting)
    engine.compile()
    threading.Thread(target=engine.run, daemon=True).start()
    return engine


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises UserError."""
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(2048)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f'{host} port {port}: {reason}; set another --host or --port') from error
    return listener


def address(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host: 127.0.0.1, ::1, localhost."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
