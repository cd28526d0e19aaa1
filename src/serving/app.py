"""OpenAI's completions API over HTTP, the page, and what tools ask beside. No TensorFlow."""

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..encoder import END_OF_TEXT
from . import metrics, requests
from .bodies import read_json
from .completions import answer, stream
from .requests import ApiError

PAGE = Path(__file__).parent / 'page'
FILES = ('page.css', 'page.js', 'copy.js')
# Of the page: nothing comes from elsewhere, and nobody frames it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class App:
    """The server's state: `engines` by the names of models, all of them once `ready`.

    key: what clients have to know; None: nothing. __call__ is the ASGI application.
    """

    def __init__(self, key: str | None = None, origins=(), slide: bool = False):
        self.key, self.slide = key, slide
        self.engines, self.ready, self.created = {}, False, int(time.time())
        cors = Middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=['*'], allow_headers=['*']
        )
        pages = {'/': 'index.html'} | {f'/{name}': name for name in FILES}
        self.app = Starlette(
            routes=[
                *(Route(path, file(name)) for path, name in pages.items()),
                Route('/health', self.health),
                Route('/v1/completions', self.keyed(self.completions), methods=['POST']),
                Route('/v1/models', self.keyed(self.models)),
                Route('/v1/models/{name:path}', self.keyed(self.model)),
                Route('/tokenize', self.keyed(self.tokenize), methods=['POST']),
                Route('/detokenize', self.keyed(self.detokenize), methods=['POST']),
                Route('/tokenizer_info', self.keyed(self.tokenizer_info)),
                Route('/metrics', self.keyed(self.metrics)),
            ],
            middleware=[cors] if origins else [],
            exception_handlers={ApiError: say, HTTPException: say_http, Exception: say_bug},
            lifespan=self.lifespan,
        )

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)

    @contextlib.asynccontextmanager
    async def lifespan(self, app) -> AsyncIterator[None]:
        yield
        for engine in self.engines.values():
            engine.close()

    def keyed(self, endpoint):
        """`endpoint` for those who know the key, once the models are loaded."""

        async def checked(request: Request) -> Response:
            if self.key is not None:
                given = request.headers.get('authorization', '').encode('latin-1')
                if not hmac.compare_digest(given, f'Bearer {self.key}'.encode()):
                    raise ApiError('the API key is wrong or missing', 401, code='invalid_api_key')
            if not self.ready:
                raise ApiError('the model is being loaded', 503, type='server_error')
            return await endpoint(request)

        return checked

    def engine(self, body: dict, needed: bool = False):
        """That of the model which a body names; the first one's, where it need not name one."""
        name = body.get('model')
        if name is None and not needed:
            return next(iter(self.engines.values()))
        if name is None:
            raise ApiError('you must provide a model', param='model')
        if type(name) is not str or name not in self.engines:
            what = f'the model {requests.short(name)} does not exist; GET /v1/models lists them'
            raise ApiError(what, 404, param='model', code='model_not_found')
        return self.engines[name]

    async def health(self, request: Request) -> Response:
        status = 'ready' if self.ready else 'loading'
        return JSONResponse({'status': status}, 200 if self.ready else 503)

    async def completions(self, request: Request) -> Response:
        body = await read_json(request)
        engine = self.engine(body, needed=True)
        counts = engine.metrics.requests
        try:
            hparams, enc = engine.model.hparams, engine.model.enc
            asked = await asyncio.to_thread(requests.read, body, enc, hparams, self.slide)
            made = stream if asked.stream else answer
            response = await made(engine, asked, body['model'], request.receive)
        except ApiError as error:
            counts[error.status] += 1
            raise
        counts[response.status_code] += 1
        return response

    async def models(self, request: Request) -> Response:
        return JSONResponse({'object': 'list', 'data': [*map(self.card, self.engines)]})

    async def model(self, request: Request) -> Response:
        name = request.path_params['name']
        self.engine({'model': name})
        return JSONResponse(self.card(name))

    def card(self, name: str) -> dict:
        n_ctx = self.engines[name].model.hparams.n_ctx
        about = {'object': 'model', 'created': self.created, 'owned_by': 'gpt-2'}
        return {'id': name, **about, 'max_model_len': n_ctx, 'slide': self.slide}

    async def tokenize(self, request: Request) -> Response:
        body = await read_json(request)
        model = self.engine(body).model
        if type(body.get('prompt')) is not str:
            raise ApiError('prompt is a string', param='prompt')
        ids = await asyncio.to_thread(requests.encode, body['prompt'], model.enc)
        return JSONResponse(
            {'tokens': ids, 'count': len(ids), 'max_model_len': model.hparams.n_ctx}
        )

    async def detokenize(self, request: Request) -> Response:
        body = await read_json(request)
        model = self.engine(body).model
        ids = body.get('tokens')
        if type(ids) is not list or not all(
            type(token) is int and 0 <= token < model.hparams.n_vocab for token in ids
        ):
            last = model.hparams.n_vocab - 1
            raise ApiError(f'tokens is a list of ids from 0 to {last}', param='tokens')
        return JSONResponse({'prompt': model.enc.decode(ids)})

    async def tokenizer_info(self, request: Request) -> Response:
        """As vLLM tells it, and Transformers' tokenizer_config.json."""
        model = self.engine({'model': request.query_params.get('model')}).model
        special = dict.fromkeys(('bos_token', 'eos_token', 'unk_token'), END_OF_TEXT)
        return JSONResponse(
            {
                'tokenizer_class': 'GPT2Tokenizer',
                'model_max_length': model.hparams.n_ctx,
                'add_bos_token': False,
                'pad_token': None,
                **special,
            }
        )

    async def metrics(self, request: Request) -> Response:
        return PlainTextResponse(metrics.page(self.engines), media_type='text/plain; version=0.0.4')


def file(name: str):
    async def endpoint(request: Request) -> Response:
        headers = {'Content-Security-Policy': POLICY, 'X-Content-Type-Options': 'nosniff'}
        return FileResponse(PAGE / name, headers=headers)

    return endpoint


async def say(request: Request, error: ApiError) -> Response:
    headers = {'Retry-After': '1'} if error.status in (429, 503) else {}
    if error.status == 401:
        headers['WWW-Authenticate'] = 'Bearer'
    return JSONResponse(error.body, error.status, headers)


async def say_http(request: Request, error: HTTPException) -> Response:
    what = f'there is no {request.method} {requests.short(request.url.path)} here'
    return await say(request, ApiError(what, error.status_code, code='unknown_url'))


async def say_bug(request: Request, error: Exception) -> Response:
    return await say(request, ApiError('the server failed', 500, type='server_error'))
