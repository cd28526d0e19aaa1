"""The API as OpenAI's own client sees it, every field."""

import json
import math
import re

import httpx
import openai
import pytest

from gpt2.options import SamplingOptions
from gpt2.serving import answers
from live import serve_live  # noqa: F401  a fixture


@pytest.fixture(scope='module')
def client(live):
    return openai.OpenAI(base_url=f'{live.url}/v1', api_key='none', max_retries=0)


@pytest.fixture(scope='module')
def complete(client):
    """client.completions.create with the model's name; what is not OpenAI's goes as it is."""
    ours = {'top_k', 'min_p', 'repetition_penalty', 'ignore_eos', 'min_tokens'}
    ours |= {'include_stop_str_in_output'}

    def complete(prompt, **fields):
        extra = {name: fields.pop(name) for name in ours & set(fields)}
        return client.completions.create(model='demo', prompt=prompt, extra_body=extra, **fields)

    return complete


@pytest.fixture(scope='module')
def model(live):
    return live.engine.model


def test_an_answer(complete, model):
    answer = complete('ROMEO:', max_tokens=10, temperature=0, user='me')
    assert answer.id.startswith('cmpl-') and answer.object == 'text_completion'
    assert answer.model == 'demo' and answer.created > 1.7e9
    [choice] = answer.choices
    assert choice.text == model.generate('ROMEO:', length=10, temperature=0)
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, 'length', None)
    n = len(model.enc.encode('ROMEO:'))
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (n, 10, n + 10)


def test_sixteen_tokens_by_default(complete):
    assert complete('ROMEO:', extra_headers={}).usage.completion_tokens <= 16
    assert complete('ROMEO:', ignore_eos=True).usage.completion_tokens == 16


@pytest.mark.parametrize(
    'fields, options',
    [
        ({'seed': 5}, {'seed': 5}),
        (
            {'seed': 1, 'temperature': 0.5, 'top_p': 0.8},
            {'seed': 1, 'temperature': 0.5, 'top_p': 0.8},
        ),
        ({'seed': 2, 'top_k': 5, 'min_p': 0.1}, {'seed': 2, 'top_k': 5, 'min_p': 0.1}),
        ({'seed': 2, 'top_k': -1}, {'seed': 2}),
        (
            {'seed': 3, 'frequency_penalty': 1, 'presence_penalty': -0.5},
            {'seed': 3, 'frequency_penalty': 1, 'presence_penalty': -0.5},
        ),
        ({'seed': 4, 'repetition_penalty': 1.5}, {'seed': 4, 'repetition_penalty': 1.5}),
        ({'seed': 4, 'logit_bias': {'262': 8}}, {'seed': 4, 'logit_bias': {262: 8}}),
        ({'seed': 6, 'stop': ' the'}, {'seed': 6, 'stop': ' the'}),
        (
            {'seed': 6, 'stop': ['e', 'a'], 'include_stop_str_in_output': True},
            {'seed': 6, 'stop': ['e', 'a'], 'include_stop': True},
        ),
    ],
)
def test_fields_are_options_of_the_samplers(complete, live, monkeypatch, fields, options):
    """With which the engine's tests compare what is drawn."""
    rows_of, taken = live.engine.rows_of, []
    monkeypatch.setattr(
        live.engine, 'rows_of', lambda asked, say: taken.append(asked) or rows_of(asked, say)
    )
    [choice] = complete('KING RICHARD III:\n', max_tokens=24, **fields).choices
    [asked] = taken
    stops = [*SamplingOptions(**options).stops, '<|endoftext|>']
    assert asked.options == SamplingOptions(**(options | {'length': 24, 'stop': stops}))
    assert choice.finish_reason in ('stop', 'length')


def test_prompts_of_all_forms(complete, model):
    ids, other = model.enc.encode('ROMEO:'), model.enc.encode('JULIET:')
    one, two = (model.generate(ids, length=5, temperature=0) for ids in (ids, other))
    for prompt, texts in {
        'ROMEO:': [one],
        ('ROMEO:', 'JULIET:'): [one, two],
        tuple(ids): [one],
        (tuple(other), tuple(ids)): [two, one],
    }.items():
        answer = complete(json.loads(json.dumps(prompt)), max_tokens=5, temperature=0)
        assert [choice.text for choice in answer.choices] == texts
        assert [choice.index for choice in answer.choices] == list(range(len(texts)))
    nothing = model.generate([model.enc.end_of_text], length=5, temperature=0)
    for prompt in ('', None, [], '<|endoftext|>'):
        answer = complete(prompt, max_tokens=5, temperature=0)
        assert answer.choices[0].text == nothing and answer.usage.prompt_tokens == 1


def test_several_texts_of_several_prompts(complete):
    fields = {'max_tokens': 6, 'seed': 1}
    answer = complete(['ROMEO:', 'JULIET:'], n=3, **fields)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3, 4, 5]
    texts = [choice.text for choice in answer.choices]
    assert texts[:3] == [choice.text for choice in complete('ROMEO:', n=3, **fields).choices]
    assert texts[3:] == [choice.text for choice in complete('JULIET:', n=3, **fields).choices]
    assert len(set(texts[:3])) == len(set(texts[3:])) == 3


def test_the_best_of_some(complete):
    fields = {'max_tokens': 6, 'seed': 1, 'logprobs': 0}
    every = complete('ROMEO:', n=5, **fields).choices
    best = complete('ROMEO:', n=2, best_of=5, **fields)

    def mean(choice):
        return math.fsum(choice.logprobs.token_logprobs) / len(choice.logprobs.tokens)

    expected = sorted(every, key=mean, reverse=True)[:2]
    assert [choice.text for choice in best.choices] == [choice.text for choice in expected]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage.completion_tokens == 30


def test_a_stream_is_the_whole_in_pieces(complete):
    fields = {'max_tokens': 12, 'seed': 3, 'n': 2, 'logprobs': 2, 'echo': True}
    whole = complete(['ROMEO:', 'Nurse'], **fields)
    chunks = list(
        complete(['ROMEO:', 'Nurse'], stream=True, stream_options={'include_usage': True}, **fields)
    )
    assert len({chunk.id for chunk in chunks}) == 1
    *chunks, last = chunks
    assert last.choices == [] and last.usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks) and len(chunks) > 12
    for choice in whole.choices:
        mine = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert ''.join(c.text for c in mine) == choice.text
        assert [c.finish_reason for c in mine] == [None] * (len(mine) - 1) + ['length']
        for name in ('tokens', 'text_offset', 'token_logprobs', 'top_logprobs'):
            together = [x for c in mine for x in getattr(c.logprobs, name)]
            assert together == getattr(choice.logprobs, name), name


def test_a_stream_as_it_is_sent(live):
    body = {'model': 'demo', 'prompt': 'ROMEO:', 'max_tokens': 3, 'stream': True}
    answer = httpx.post(f'{live.url}/v1/completions', json=body)
    assert answer.headers['content-type'].startswith('text/event-stream')
    *events, done, rest = answer.text.split('\n\n')
    assert (done, rest) == ('data: [DONE]', '')
    for text in events:
        chunk = json.loads(text.removeprefix('data: '))
        assert set(chunk) == {'id', 'object', 'created', 'model', 'choices'}
        assert set(chunk['choices'][0]) == {'text', 'index', 'logprobs', 'finish_reason'}


def test_logprobs(complete, model):
    prompt = 'Good night, good'
    answer = complete(prompt, max_tokens=4, temperature=0, logprobs=3, echo=True)
    [choice] = answer.choices
    told, ids = choice.logprobs, model.enc.encode(prompt)
    assert choice.text.startswith(prompt) and ''.join(told.tokens) == choice.text
    assert len(told.tokens) == len(ids) + 4
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    right = [figure for _, figure in model.log_probs(choice.text)]
    assert told.token_logprobs[1:] == pytest.approx(right, abs=1e-4)
    for token, figure, top in list(
        zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True)
    )[1:]:
        assert len(top) in (3, 4) and top[token] == figure
    assert told.token_logprobs[-1] == max(told.top_logprobs[-1].values())  # greedy: the same float
    starts = [
        len(model.enc.decode([*ids, *model.enc.encode(choice.text)[len(ids) :]][:i]))
        for i in range(len(ids) + 4)
    ]
    assert told.text_offset == starts
    alone = complete(prompt, max_tokens=4, temperature=0, logprobs=0).choices[0].logprobs
    assert alone.text_offset == starts[len(ids) :] and alone.top_logprobs is None
    assert alone.token_logprobs == pytest.approx(told.token_logprobs[len(ids) :], abs=1e-4)


def test_parts_of_characters(complete, model):
    prompt = 'né€'
    told = complete(prompt, max_tokens=0, echo=True, logprobs=5).choices[0].logprobs
    assert told.tokens == ['n', r'bytes:\xc3', r'bytes:\xa9', *told.tokens[3:]]
    assert told.text_offset[:4] == [0, 1, 1, 2]
    every = [answers.text_of(model.enc, token) for token in range(model.hparams.n_vocab)]
    assert len(set(every)) == len(every)


def test_the_prompt_alone(complete, model):
    answer = complete('Good night', max_tokens=0, echo=True, logprobs=1)
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason) == ('Good night', 'length')
    right = [figure for _, figure in model.log_probs('Good night')]
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(right, abs=1e-4)
    assert answer.usage.completion_tokens == 0
    assert complete('Good night', max_tokens=0, echo=True).choices[0].text == 'Good night'


def test_the_end_of_text_ends_one(complete, model):
    end = model.enc.end_of_text
    fields = {'max_tokens': 5, 'logit_bias': {str(end): 100}}
    [choice] = complete('a', logprobs=1, **fields).choices
    assert (choice.text, choice.finish_reason) == ('', 'stop')
    assert choice.logprobs.tokens == ['<|endoftext|>']  # lm-eval wants one entry
    [choice] = complete('a', ignore_eos=True, **fields).choices
    assert (choice.text, choice.finish_reason) == ('<|endoftext|>' * 5, 'length')
    assert complete('a', include_stop_str_in_output=True, **fields).choices[0].text == ''
    answer = complete('a', min_tokens=3, **fields)
    assert answer.usage.completion_tokens == 4


@pytest.mark.parametrize(
    'fields, param, message',
    [
        ({'suffix': 'x'}, 'suffix', 'no text before a suffix'),
        ({'temperature': 'hot'}, 'temperature', "a number from 0 to 100, not 'hot'"),
        ({'temperature': -1}, 'temperature', 'a number from 0'),
        ({'temperature': True}, 'temperature', 'not True'),
        ({'max_tokens': 1.5}, 'max_tokens', 'a whole number'),
        ({'max_tokens': 0}, 'max_tokens', 'at least 1, unless echo'),
        ({'max_tokens': 10**30}, 'max_tokens', 'a whole number'),
        ({'max_tokens': 257}, 'max_tokens', r'context length is 256 tokens.* 25\d tokens fit'),
        ({'prompt': 'word ' * 300}, 'prompt', 'context length is 256 tokens'),
        ({'prompt': 'x' * 10**6}, 'prompt', '1,000,000 characters'),
        ({'prompt': [5000]}, 'prompt', 'the id 5000; they go from 0 to 1023'),
        ({'prompt': [-1]}, 'prompt', 'the id -1'),
        ({'prompt': [1.5]}, 'prompt', 'not with 1.5'),
        ({'prompt': {'a': 1}}, 'prompt', 'prompt is a string'),
        ({'prompt': '\ud800'}, 'prompt', 'surrogate'),
        ({'prompt': ['a'] * 129}, 'prompt', '129 prompts are more than 128'),
        ({'prompt': ['a'] * 65, 'n': 2}, 'prompt', '65 prompts of 2 texts each'),
        ({'n': 0}, 'n', 'a whole number from 1'),
        ({'n': 3, 'best_of': 2}, 'best_of', 'at least n, 3, not 2'),
        ({'best_of': 2, 'stream': True}, 'best_of', 'leave out stream'),
        ({'stream': 'yes'}, 'stream', "true or false, not 'yes'"),
        ({'stream_options': {'include_usage': True}}, 'stream_options', 'go with stream'),
        ({'logprobs': 6}, 'logprobs', 'from 0 to 5, not 6'),
        ({'logprobs': True}, 'logprobs', 'not True'),
        ({'stop': 5}, 'stop', 'a string or a list of strings'),
        ({'stop': ['a'] * 65}, 'stop', '65 strings'),
        ({'logit_bias': {'x': 1}}, 'logit_bias', 'biases by the ids'),
        ({'logit_bias': {'5000': 1}}, 'logit_bias', 'the id 5000; the last one is 1023'),
        ({'logit_bias': {'5': 101}}, 'logit_bias.5', 'from -100 to 100'),
        ({'presence_penalty': 3}, 'presence_penalty', 'from -2 to 2'),
        ({'min_tokens': 17}, 'min_tokens', 'more than max_tokens'),
        ({'model': 5}, 'model', 'the model 5 does not exist'),
        ({'model': None}, 'model', 'you must provide a model'),
    ],
)
def test_mistakes_are_told_in_the_apis_shape(live, fields, param, message):
    body = json.dumps({'model': 'demo', 'prompt': 'a', **fields})
    answer = httpx.post(f'{live.url}/v1/completions', content=body)
    assert answer.status_code == (404 if fields.get('model') == 5 else 400)
    error = answer.json()['error']
    assert set(error) == {'message', 'type', 'param', 'code'}
    assert (error['param'], error['type']) == (param, 'invalid_request_error')
    assert re.search(message, error['message']), error


def test_texts_beyond_the_context_where_they_slide(complete, live, monkeypatch):
    monkeypatch.setattr(live.app, 'slide', True)
    answer = complete('a', max_tokens=300, ignore_eos=True)
    assert answer.usage.completion_tokens == 300
    with pytest.raises(openai.BadRequestError, match='max_tokens is at most 16384'):
        complete('a', max_tokens=10**5)
    with pytest.raises(openai.BadRequestError, match='maximum context length'):
        complete([5] * 257)


def test_unknown_fields_and_nulls_are_left_alone(live):
    body = {'model': 'demo', 'prompt': 'a', 'max_tokens': 1, 'best_of': None, 'new': {'x': 1}}
    assert httpx.post(f'{live.url}/v1/completions', json=body).status_code == 200


def test_the_clients_exceptions(client, live):
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model='demo', prompt='a', temperature=-1)
    assert (wrong.value.param, wrong.value.code) == ('temperature', None)
    with pytest.raises(openai.NotFoundError) as wrong:
        client.completions.create(model='gpt-5', prompt='a')
    assert wrong.value.code == 'model_not_found'
    with pytest.raises(openai.NotFoundError, match='there is no POST'):
        client.chat.completions.create(model='demo', messages=[])


def test_the_models(client):
    assert [model.id for model in client.models.list()] == ['demo']
    assert client.models.retrieve('demo').owned_by == 'gpt-2'
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve('gpt-5')


def test_a_key(live, monkeypatch):
    monkeypatch.setattr(live.app, 'key', 'sé')
    for key, right in (('sé', True), ('se', False), ('x', False)):
        headers = {'Authorization': f'Bearer {key}'.encode()}
        for path in ('v1/models', 'metrics', 'tokenizer_info'):
            answer = httpx.get(f'{live.url}/{path}', headers=headers)
            assert answer.status_code == (200 if right else 401)
    assert answer.json()['error']['code'] == 'invalid_api_key'
    wrong = openai.OpenAI(base_url=f'{live.url}/v1', api_key='other')
    with pytest.raises(openai.AuthenticationError):
        wrong.completions.create(model='demo', prompt='a')
    for path in ('', 'page.js', 'page.css', 'health'):
        assert httpx.get(f'{live.url}/{path}').status_code == 200


def test_a_full_queue_is_told_and_tried_again(live, monkeypatch):
    monkeypatch.setattr(live.engine, 'most_waiting', -4)
    busy = openai.OpenAI(base_url=f'{live.url}/v1', api_key='none', max_retries=1)
    before = live.engine.metrics.requests[429]
    with pytest.raises(openai.RateLimitError) as wrong:
        busy.completions.create(model='demo', prompt='a')
    assert wrong.value.code == 'rate_limit_exceeded'
    assert live.engine.metrics.requests[429] == before + 2


def test_while_loading(live, monkeypatch):
    monkeypatch.setattr(live.app, 'ready', False)
    assert httpx.get(f'{live.url}/health').status_code == 503
    assert httpx.get(f'{live.url}/v1/models').json()['error']['type'] == 'server_error'


def test_a_failure_in_a_stream_is_a_chunk(live, complete, monkeypatch, capsys):
    monkeypatch.setattr(live.engine, '_run_step', lambda *_: 1 / 0)
    with pytest.raises(openai.APIError, match='the server failed in the middle'):
        list(complete('a', stream=True))
    with pytest.raises(openai.InternalServerError):
        complete('a')
    monkeypatch.undo()
    assert complete('a', max_tokens=1).usage.completion_tokens == 1


def test_tokens(live, model):
    text = 'Good night<|endoftext|>né'
    answer = httpx.post(f'{live.url}/tokenize', json={'prompt': text, 'add_special_tokens': False})
    tokens = answer.json()['tokens']
    assert model.enc.end_of_text in tokens and model.enc.decode(tokens) == text
    answer = httpx.post(f'{live.url}/detokenize', json={'tokens': tokens})
    assert answer.json() == {'prompt': text}
    for path, body in (
        ('tokenize', {}),
        ('tokenize', {'prompt': 1}),
        ('detokenize', {'tokens': [1.5]}),
        ('detokenize', {'tokens': [5000]}),
    ):
        assert httpx.post(f'{live.url}/{path}', json=body).status_code == 400
    assert httpx.get(f'{live.url}/tokenizer_info').json()['eos_token'] == '<|endoftext|>'


def test_metrics(live, complete):
    before = live.engine.metrics.tokens
    complete('a', max_tokens=5, ignore_eos=True)
    text = httpx.get(f'{live.url}/metrics').text
    lines = dict(line.rsplit(' ', 1) for line in text.splitlines() if line[0] != '#')
    assert float(lines['gpt2_generated_tokens_total{model="demo"}']) == before + 5
    assert lines['gpt2_running{model="demo"}'] == lines['gpt2_waiting{model="demo"}'] == '0'
    assert float(lines['gpt2_requests_total{model="demo",code="200"}']) >= 1
    count = lines['gpt2_time_to_first_token_seconds_count{model="demo"}']
    assert lines['gpt2_time_to_first_token_seconds_bucket{model="demo",le="+Inf"}'] == count
    kinds = {line.split()[2] for line in text.splitlines() if line.startswith('# TYPE')}
    names = {line.split('{')[0].removesuffix('_bucket').removesuffix('_sum') for line in lines}
    assert {name.removesuffix('_count') for name in names} == kinds


def test_other_sites_only_where_allowed(live):
    for origin, allowed in (('https://example.com', True), ('https://evil.com', False)):
        answer = httpx.get(f'{live.url}/health', headers={'Origin': origin})
        assert ('access-control-allow-origin' in answer.headers) == allowed
