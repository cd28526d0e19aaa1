"""The body of a request: read whole, up to a limit and in time, as JSON."""

import asyncio
import json

from starlette.requests import ClientDisconnect, Request

from .requests import ApiError

MOST_BYTES = 4 * 2**20
MOST_READ = 16 * MOST_BYTES  # of a body that is too long: who sends it, hears of it
SECONDS = 30


async def read_json(request: Request) -> dict:
    """Raises ApiError for what is no JSON object, is too long or too slow."""
    try:
        content = await asyncio.wait_for(_read(request), SECONDS)
    except asyncio.TimeoutError:
        what = f'the body did not come within {SECONDS} seconds'
        raise ApiError(what, 408, type='timeout') from None
    except ClientDisconnect:
        raise ApiError('the client went away', 499) from None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ApiError(f'the body is no JSON: {error}') from None
    if type(body) is not dict:
        raise ApiError(f'the body is a JSON object, not {type(body).__name__}')
    return body


async def _read(request: Request) -> bytes:
    content, size = bytearray(), 0
    async for piece in request.stream():
        size += len(piece)
        if size <= MOST_BYTES:
            content += piece
        if size > MOST_READ:
            break
    if size > MOST_BYTES:
        what = f'the body is longer than {MOST_BYTES:,} bytes; send several requests'
        raise ApiError(what, 413)
    return bytes(content)
