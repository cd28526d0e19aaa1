"""A completion from the engine to the client, whole or as a stream; nothing goes on for a client
that went away."""

import asyncio
import contextlib
import json
import statistics
from collections.abc import AsyncIterator

from starlette.responses import JSONResponse, Response, StreamingResponse

from .answers import Answer, Choice, usage
from .requests import ApiError, Asked

SLOW = 60  # seconds in which a client has to take some of what it is sent
GONE = 499  # the status of what nobody waits for, as nginx counts it


async def answer(engine, asked: Asked, model: str, receive) -> Response:
    """All texts, once the last one has ended."""
    rows, pieces = begin(engine, asked)
    collecting = asyncio.ensure_future(all_of(rows, pieces))
    leaving = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            raise ApiError('the client went away', GONE)
        collecting.result()
    finally:
        engine.leave(rows)
        collecting.cancel()
        leaving.cancel()
    return await asyncio.to_thread(whole, engine, asked, model, rows)


def whole(engine, asked: Asked, model: str, rows: list) -> Response:
    """The answer of rows that have ended; of many it takes a while to write."""
    choices = []
    for number, prompt in enumerate(asked.prompts):
        texts = rows[number * asked.best_of : (number + 1) * asked.best_of]
        if asked.best_of > asked.n:
            texts = sorted(texts, key=likelihood, reverse=True)[: asked.n]
        for row in texts:
            choice = Choice(engine.model.enc, asked, prompt, len(choices))
            tokens = row.text.tokens
            choices.append(choice.chunk(row, row.text.text, len(tokens), row.text.ended))
    total = sum(len(row.text.tokens) for row in rows)
    return JSONResponse(Answer(model).of(choices, usage=usage(asked, total)))


async def stream(engine, asked: Asked, model: str, receive) -> Response:
    """Pieces of the texts as they come, as server-sent events."""
    rows, pieces = begin(engine, asked)
    return Events(engine, rows, events(engine, asked, model, rows, pieces))


class Events(StreamingResponse):
    """A stream that ends, and its rows with it, where a client goes away or takes nothing."""

    def __init__(self, engine, rows, content):
        headers = {'Cache-Control': 'no-cache', 'X-Accel-Buffering': 'no'}
        super().__init__(content, headers=headers, media_type='text/event-stream')
        self.engine, self.rows = engine, rows

    async def __call__(self, scope, receive, send) -> None:
        async def in_time(message):
            await asyncio.wait_for(send(message), SLOW)

        sending = asyncio.ensure_future(self.stream_response(in_time))
        leaving = asyncio.ensure_future(gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                with contextlib.suppress(asyncio.TimeoutError, OSError):
                    sending.result()
        finally:
            self.engine.leave(self.rows)
            sending.cancel()
            leaving.cancel()


def begin(engine, asked: Asked) -> tuple[list, asyncio.Queue]:
    """The rows of a request, in the engine's hands, and the queue that their pieces come into."""
    pieces, loop = asyncio.Queue(), asyncio.get_running_loop()

    def deliver(*piece):
        with contextlib.suppress(RuntimeError):  # the loop has ended: the server has
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

    rows = engine.rows_of(asked, deliver)
    engine.submit(rows)
    return rows, pieces


async def gone(receive) -> None:
    """Wait until the client goes away."""
    while (await receive())['type'] != 'http.disconnect':
        pass


async def all_of(rows: list, pieces: asyncio.Queue) -> None:
    """Wait until all have ended; raises ApiError where one went wrong."""
    left = len(rows)
    while left:
        _, new, _, ended = await pieces.get()
        if isinstance(new, Exception):
            raise failure()
        left -= ended is not None


def failure() -> ApiError:
    return ApiError('the server failed in the middle of this text', 500, type='server_error')


def likelihood(row) -> float:
    """The mean log-probability of a text's tokens."""
    return statistics.fmean(row.text.log_probs or [0.0])


async def events(engine, asked: Asked, model: str, rows, pieces) -> AsyncIterator[str]:
    """Yield the events of a stream; those that are there already at once."""
    head, enc = Answer(model), engine.model.enc
    none = {'usage': None} if asked.include_usage else {}
    choices = {
        row: Choice(enc, asked, asked.prompts[index // asked.n], index)
        for index, row in enumerate(rows)
    }
    left = len(rows)
    while left:
        ready = [await pieces.get()]
        while not pieces.empty():
            ready.append(pieces.get_nowait())
        chunks = []
        for row, new, count, ended in ready:
            if isinstance(new, Exception):
                yield ''.join(chunks) + event(failure().body)
                return
            left -= ended is not None
            if new or ended:
                chunks.append(event(head.of([choices[row].chunk(row, new, count, ended)], **none)))
        if chunks:
            yield ''.join(chunks)
    if asked.include_usage:
        total = sum(len(row.text.tokens) for row in rows)
        yield event(head.of([], usage=usage(asked, total)))
    yield 'data: [DONE]\n\n'


def event(content: dict) -> str:
    return f'data: {json.dumps(content)}\n\n'
