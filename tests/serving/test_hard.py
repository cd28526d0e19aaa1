"""What clients do wrong, or on purpose: no 500, nothing that goes on for nobody, nothing kept."""

import gc
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from gpt2.serving import bodies, completions
from live import post, serve_live  # noqa: F401  a fixture

STREAM = {'model': 'demo', 'prompt': 'a', 'max_tokens': 200, 'stream': True, 'ignore_eos': True}
SECONDS = float(os.environ.get('GPT2_LOAD_SECONDS', 5))  # of the load test; 120 for the long form
CLIENTS = 64


def alive(live):
    body = {'model': 'demo', 'prompt': 'a', 'max_tokens': 1}
    return httpx.post(f'{live.url}/v1/completions', json=body, timeout=60).status_code == 200


def values(random):
    """Something JSON can hold, and more."""
    return random.choice(
        [
            *('null', 'true', '-1', '0', '1', '1e400', 'NaN', '-Infinity', '1' * 5000, '1.5'),
            *('""', '"a"', '"\\ud800"', '"<|endoftext|>"', '[]', '[[]]', '[1]', '[[1],[2]]'),
            *('{}', '{"5": 1}', '{"-1": 1}', '{"1e5": null}', '[null]', '["a", 1]', '[1, "a"]'),
            *('9' * 25, '[1e3]', '"' + 'x' * 3000 + '"', '[' * 500 + ']' * 500),
        ]
    )


def bodies_of(random):
    """Malformed requests of one kind or another."""
    names = ['model', 'prompt', 'max_tokens', 'n', 'best_of', 'temperature', 'top_p', 'stream']
    names += ['logprobs', 'echo', 'stop', 'presence_penalty', 'logit_bias', 'seed', 'user', 'top_k']
    names += ['min_p', 'repetition_penalty', 'ignore_eos', 'min_tokens', 'suffix', 'stream_options']
    fields = {'"model"': '"demo"', '"prompt"': '"a"', '"max_tokens"': '1'}
    for name in random.sample(names, random.randint(1, 3)):
        fields[f'"{name}"'] = values(random)
    body = '{' + ', '.join(f'{name}: {value}' for name, value in fields.items()) + '}'
    body = body.encode()
    kind = random.random()
    if kind < 0.25:
        place = random.randrange(len(body))
        body = body[:place] + random.randbytes(random.randint(1, 4)) + body[place + 1 :]
    elif kind < 0.35:
        body = body[: random.randrange(len(body))]
    elif kind < 0.4:
        body = random.randbytes(200)
    return body


def test_a_thousand_malformed_requests(live):
    dice, seen = random.Random(1), set()
    paths = ['/v1/completions'] * 8 + ['/tokenize', '/detokenize']
    connection = http.client.HTTPConnection('127.0.0.1', live.port, timeout=60)
    for number in range(1000):
        if number == 200:
            gc.collect()
            objects = len(gc.get_objects())
        body = bodies_of(dice)
        connection.request(dice.choice(['POST'] * 20 + ['GET']), dice.choice(paths), body)
        answer = connection.getresponse()
        content = answer.read()
        seen.add(answer.status)
        assert answer.status < 500, (body, content)
        if answer.status != 200:
            assert set(json.loads(content)['error']) == {'message', 'type', 'param', 'code'}
    connection.close()
    assert {200, 400, 404, 405} <= seen and live.idle()
    gc.collect()
    assert len(gc.get_objects()) - objects < 500
    assert alive(live)


@pytest.mark.parametrize(
    'sent',
    [
        b'\x00\xff\xfe' * 10,
        b'GET',
        b'POST /v1/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n',
        b'POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz',
        b'GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: \xff\xfe\r\n\r\n',
        b'GET /' + b'a' * 100_000 + b' HTTP/1.1\r\n\r\n',
        post(b'{"model": "demo"', length=10**6),  # which never comes
        post(b'', length=0),
    ],
)
def test_broken_requests_and_half_closed_sockets(live, sent):
    connection = live.send(sent)
    connection.shutdown(socket.SHUT_WR)
    answer = b''
    while piece := connection.recv(2**16):
        answer += piece
    assert b' 500 ' not in answer[:20]
    connection.close()
    assert live.idle() and alive(live)


def test_long_and_slow_bodies(live, monkeypatch):
    answer = httpx.post(f'{live.url}/v1/completions', content=b'x' * (bodies.MOST_BYTES + 1))
    assert (answer.status_code, answer.json()['error']['param']) == (413, None)
    monkeypatch.setattr(bodies, 'SECONDS', 0.2)
    connection = live.send(post(b'{"model"', length=100))
    assert alive(live)  # others do not wait
    assert connection.recv(2**16).startswith(b'HTTP/1.1 408')
    connection.close()


def test_who_goes_away_frees_the_row(live):
    """In a stream, and while the whole is waited for; with n, all of them."""
    for fields in ({}, {'stream': False}, {'n': 3}, {'n': 20}):
        connection = live.send(post(json.dumps(STREAM | fields).encode()))
        until(lambda: live.engine.running)
        connection.close()
        before = live.engine.metrics.tokens
        assert live.idle(), fields
        assert live.engine.metrics.tokens - before <= 4 * 40  # far from 200 each
    assert alive(live)


def test_who_takes_nothing_is_left(live, monkeypatch):
    """The loop and the others do not wait for one who does not read."""
    monkeypatch.setattr(completions, 'SLOW', 0.3)
    fields = {'n': 100, 'logprobs': 5, 'max_tokens': 60}
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(('127.0.0.1', live.port))
    connection.sendall(post(json.dumps(STREAM | fields).encode()))
    until(lambda: live.engine.running)
    assert alive(live)
    until(lambda: not live.engine.running and not live.engine.queued, 60)
    connection.close()


CLIENT = """
import json, sys, urllib.request
body = json.dumps(json.loads(sys.argv[2])).encode()
with urllib.request.urlopen(sys.argv[1], body) as answer:
    print(answer.readline().decode()[:5], flush=True)
    answer.read()
"""


def test_clients_that_are_killed(live):
    url, body = f'{live.url}/v1/completions', json.dumps(STREAM | {'n': 2})
    clients = [
        subprocess.Popen([sys.executable, '-c', CLIENT, url, body], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for client in clients:
        client.stdout.read(5)
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdout.close()
    assert live.idle() and alive(live)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_many_clients_at_once(live):
    """Each gets what it would get alone. GPT2_LOAD_SECONDS=120 runs the long form."""
    model, done, wrong = live.engine.model, [], []
    prompts = ['ROMEO:', 'Good night, good', 'The king']
    expected = {
        (prompt, seed): model.generate(prompt, length=12, seed=seed)
        for prompt in prompts
        for seed in range(2)
    }
    end = time.monotonic() + SECONDS

    def client(number):
        dice = random.Random(number)
        with httpx.Client(timeout=120) as http:
            while time.monotonic() < end:
                prompt, seed, stream = dice.choice(prompts), dice.randrange(2), dice.random() < 0.5
                body = {'model': 'demo', 'prompt': prompt, 'seed': seed, 'max_tokens': 12}
                body |= {'stream': stream, 'ignore_eos': True}
                answer = http.post(f'{live.url}/v1/completions', json=body)
                if answer.status_code != 200:
                    wrong.append(answer.text)
                elif stream:
                    events = [json.loads(e[6:]) for e in answer.text.split('\n\n')[:-2]]
                    text = ''.join(event['choices'][0]['text'] for event in events)
                    done.append((prompt, seed, text))
                else:
                    done.append((prompt, seed, answer.json()['choices'][0]['text']))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(done) >= CLIENTS
    assert all(text == expected[prompt, seed] for prompt, seed, text in done)
    assert live.idle()
