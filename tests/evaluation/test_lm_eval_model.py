"""The model in lm-eval, beside lm-eval's own Transformers model on the same weights."""

import importlib.util
import json
import re
import shutil

import numpy as np
import pytest

from conftest import ROOT
from gpt2 import sample, steps
from gpt2.errors import UserError

pytest.importorskip('lm_eval')
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.api.registry import get_model  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from gpt2.evaluation.lm_eval_model import GPT2  # noqa: E402
from gpt2.evaluation.lm_eval_tasks import find_tasks, run_tasks, table  # noqa: E402


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """As runtime.prepare_lm_eval has it for evaluate.py."""
    monkeypatch.setenv('DISABLE_MULTIPROC', '1')


WORDS = 'love honour king heart night day death crown sword father mother son grace lord'.split()
LONG = 'The king is dead, long live the king! ' * 30  # more tokens than the demo's n_ctx of 256
ROWS = {
    'last_word': [
        {'text': f'{LONG * (i == 3)}Now is the {a} of our {b},\nAnd thou shalt have my {a}'}
        for i, (a, b) in enumerate(zip(WORDS, WORDS[1:], strict=False))
    ],
    'choice': [
        {
            'question': f'{LONG * (i == 5)}ROMEO:\nWhat is the {word} but my',
            'choices': [word, 'sweet lord', WORDS[i - 1], f'{word} and {WORDS[i - 2]}'],
            'answer': i % 4,
        }
        for i, word in enumerate(WORDS)
    ],
    'answer': [
        {'question': f'{LONG * (i == 2)}{word.upper()}:\nWhat say you', 'answer': ' to me'}
        for i, word in enumerate(WORDS[:6])
    ],
    'page': [{'page': 'To be, or not to be. ' * n} for n in (1, 20, 60)],
}
KINDS = {
    'last_word': """output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: "{{' '+text.split(' ')[-1]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    'choice': """output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    'answer': """output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: ["\\n\\n", "."], max_gen_toks: 40}
metric_list: [{metric: exact_match}]
""",
    'page': """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: page
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
""",
}


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """datasets keeps what it reads under tmp_path, and asks no network."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    monkeypatch.setattr(datasets.config, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)


@pytest.fixture
def mine(tmp_path):
    """A user's folder of tasks, with their data."""
    return write_tasks(tmp_path / 'mine')


def write_tasks(folder):
    folder.mkdir()
    for name, rows in ROWS.items():
        data = folder / f'{name}.jsonl'
        data.write_text('\n'.join(map(json.dumps, rows)))
        (folder / f'{name}.yaml').write_text(
            f'task: {name}\ndataset_path: json\ntest_split: test\nfewshot_split: test\n'
            f'dataset_kwargs: {{data_files: {{test: {data}}}}}\n{KINDS[name]}'
        )
    return folder


@pytest.fixture(scope='module')
def lm():
    return GPT2('demo', ROOT / 'models', batch_size=3)


@pytest.fixture(scope='module')
def peer(lm, tmp_path_factory):
    """lm-eval's Transformers model with the same weights and vocabulary."""
    pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    if importlib.util.find_spec('triton'):
        pytest.skip("triton's LLVM and TensorFlow's do not go together in one process")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(ROOT / 'benchmarks')
        from peers import transformers_model
    from lm_eval.models.huggingface import HFLM

    folder = tmp_path_factory.mktemp('peer')
    for ours, theirs in (('encoder.json', 'vocab.json'), ('vocab.bpe', 'merges.txt')):
        shutil.copy(ROOT / 'models' / 'demo' / ours, folder / theirs)
    model = transformers_model(lm.params, lm.hparams)
    model.config.bos_token_id = model.config.eos_token_id = lm.eot_token_id
    model.generation_config.eos_token_id = lm.eot_token_id
    tokenizer = transformers.GPT2TokenizerFast.from_pretrained(folder)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, max_length=256)


def instances(kind, *arguments):
    return [Instance(kind, {}, args, i) for i, args in enumerate(arguments)]


def test_the_same_results_as_transformers(lm, peer, mine):
    loaded = find_tasks(list(ROWS), mine)
    ours, theirs = (run_tasks(model, loaded, [0, 2], None, 1) for model in (lm, peer))
    for our_run, their_run in zip(ours, theirs, strict=True):
        for name, figures in our_run['results'].items():
            for key, figure in figures.items():
                expected = their_run['results'][name][key]
                if key.split(',')[0] in ('acc', 'acc_norm', 'exact_match'):
                    assert figure == expected, (name, key)
                elif isinstance(figure, float):
                    assert figure == pytest.approx(expected, rel=1e-3), (name, key)
    assert sum(run['results']['choice']['acc,none'] for run in ours) > 0


def test_the_same_likelihoods_and_texts_as_transformers(lm, peer, mine):
    requests = {}
    for task in find_tasks(list(ROWS), mine)['tasks'].values():
        task.set_config('num_fewshot', 0)
        task.build_all_requests()
        for instance in task.instances:
            requests.setdefault(instance.request_type, []).append(instance)
    requests['loglikelihood'] += instances(
        'loglikelihood', ('', 'To be, or not'), ('To be,  ', 'or'), ('a<|endoftext|>b', ' c')
    )
    assert len(requests['loglikelihood']) == 13 + 4 * 14 + 3
    for kind in ('loglikelihood', 'loglikelihood_rolling'):
        ours, theirs = (getattr(model, kind)(requests[kind]) for model in (lm, peer))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
    assert lm.generate_until(requests['generate_until']) == peer.generate_until(
        requests['generate_until']
    )


def test_registered_by_its_name():
    lm = get_model('gpt2-tf').create_from_arg_string(
        f'model_name=demo,models_dir={ROOT / "models"}', {'batch_size': 2, 'device': None}
    )
    assert isinstance(lm, GPT2) and lm.batch_size == 2


def test_tasks_of_ones_own_in_a_table(lm, mine):
    runs = run_tasks(lm, find_tasks(['choice', 'pag*'], mine), [None, 1], 3, 1)
    head, *lines = table(runs).splitlines()
    assert head.split() == ['task', 'shots', 'metric', 'value', 'stderr']
    assert [line.split()[:3] for line in lines] == [
        [name, shots, metric]
        for shots in '01'
        for name, metrics in (
            ('choice', ('acc', 'acc_norm')),
            ('page', ('word_perplexity', 'bits_per_byte')),
        )
        for metric in metrics
    ]
    assert runs[0]['n-samples']['choice']['effective'] == 3
    assert lines[0].split()[3] != '' and lines[2].count('.') == 1


def test_a_task_that_says_0_keeps_it(lm, mine):
    path = mine / 'choice.yaml'
    path.write_text(path.read_text() + 'num_fewshot: 0\n')
    [run] = run_tasks(lm, find_tasks(['choice'], mine), [5], 2, 1)
    assert run['n-shot'] == {'choice': 0}


def test_misspelt_arguments_are_refused():
    with pytest.raises(TypeError, match='batchsize'):
        GPT2(model_name='demo', batchsize=3)


def test_drawing_stops_with_the_answer(lm, monkeypatch):
    drawn, feed = [], sample.feed
    monkeypatch.setattr(
        sample, 'feed', lambda *args, **kwargs: drawn.append(1) or feed(*args, **kwargs)
    )
    kwargs = {'until': ['\n'], 'max_gen_toks': 120, 'do_sample': False, 'temperature': 0}
    lm._generate([lm.tok_encode('ROMEO:')], kwargs, 0)
    assert len(drawn) < 120 / steps.CHUNK


def test_answers_end_where_they_are_to(lm):
    context = 'KING RICHARD III:\n'
    [whole] = lm.generate_until(instances('generate_until', (context, {'max_gen_toks': 70})))
    assert len(lm.enc.encode(whole)) > 60
    stops = [whole[100:105], whole[90:93], '']
    [text] = lm.generate_until(
        instances('generate_until', (context, {'until': stops, 'max_gen_toks': 70}))
    )
    assert text == whole[: min(whole.find(stop) for stop in stops[:2])]


def test_an_answer_ends_at_the_end_of_text(lm, monkeypatch):
    ids = lm.enc.encode('Ay, my lord.')
    answer = np.array([[*ids, lm.eot_token_id, *ids]], np.int32)
    drawn = [sample.Drawn(answer, np.zeros(answer.shape, np.float32))]
    monkeypatch.setattr(sample, 'generate', lambda *_, **__: iter(drawn))
    kwargs = {'until': ['xyz'], 'max_gen_toks': 120, 'do_sample': False, 'temperature': 0}
    assert lm._generate([ids], kwargs, 0) == ['Ay, my lord.']


def test_a_task_may_ask_for_penalties(lm):
    context, plain = 'ROMEO:\n', {'max_gen_toks': 60}
    [whole] = lm.generate_until(instances('generate_until', (context, plain)))
    kwargs = plain | {'repetition_penalty': 1.5, 'no_repeat_ngram_size': 2, 'top_k': 40}
    [other] = lm.generate_until(instances('generate_until', (context, kwargs)))
    ids = lm.enc.encode(context + other)
    pairs = list(zip(ids, ids[1:], strict=False))
    assert other != whole and len(set(pairs)) >= len(pairs) - 2  # encoded anew, some may differ


def test_drawn_answers_depend_on_the_seed(lm):
    kwargs = {'do_sample': True, 'temperature': 1.0, 'top_k': 40, 'max_gen_toks': 40}
    requests = instances('generate_until', *[('ROMEO:\n', kwargs)] * 4)
    first = lm.generate_until(requests)
    assert len(set(first)) == 4
    assert lm.generate_until(requests) == first


def test_long_questions_lose_their_beginning_and_that_is_said(lm, capsys):
    requests = instances('generate_until', *[(f'{n}{LONG}', {'max_gen_toks': 5}) for n in range(2)])
    first, second = lm.generate_until(requests)
    assert first == second
    assert capsys.readouterr().err.count('2 of 2 contexts do not fit into the n_ctx of 256') == 1


def test_an_answer_as_long_as_the_context(lm):
    with pytest.raises(UserError, match='256 tokens of an answer leave no room .* lower max_gen'):
        lm.generate_until(instances('generate_until', ('a', {'max_gen_toks': 256})))


@pytest.fixture(scope='module')
def everything():
    """All of lm-eval's tasks, and ours."""
    return TaskManager(include_path=ROOT / 'tasks')


def test_an_unknown_task_and_the_nearest(mine, everything, monkeypatch):
    monkeypatch.setattr('gpt2.evaluation.lm_eval_tasks.TaskManager', lambda **_: everything)
    sentence = r"no task is called 'lambda_openai' \(did you mean lambada_openai .*run: lm-eval ls"
    for folder in (mine, None):
        with pytest.raises(UserError, match=sentence):
            find_tasks(['lambda_openai'], folder)


def test_the_tasks_of_the_readme_are_there(everything):
    page = (ROOT / 'docs' / 'evaluation.md').read_text('utf-8')
    recipes = re.findall(r'^python evaluate.py tasks (\S+)', page, re.M)
    names = {name for recipe in recipes for name in recipe.split(',')} - {'my_task'}
    assert names <= set(everything.all_tasks) and len(names) > 8


def test_our_own_tasks(lm, tmp_path):
    """On rows made here, of the columns that the sets on the hub have."""
    folder = tmp_path / 'tasks'
    shutil.copytree(ROOT / 'tasks', folder)
    sentences = ["`` They are very kind , '' said he .", "I ca n't , he said ."] * 10
    words = ['king', 'men', 'night', 'day', 'sword', 'heart', 'son', 'lord', 'lady', 'crown']
    question = "`` Why ? '' said the XXXXX ; `` they wo n't . ''"
    cbt = {'sentences': sentences, 'question': question, 'options': words, 'answer': 'men'}
    news = {'article': 'The king is dead. ' * 30, 'highlights': 'The king is dead .\nThe king .'}
    pair = {'translation': {'en': 'the king is dead', 'fr': 'le roi est mort'}}
    for names, row in (('cbt_cn cbt_ne', cbt), ('tldr', news), ('*_en_fr *_fr_en', pair)):
        data = tmp_path / f'{names[:2].strip("*")}rows.jsonl'
        data.write_text('\n'.join([json.dumps(row)] * 7))
        for path in (path for name in names.split() for path in folder.glob(f'{name}.yaml')):
            text = re.sub('^dataset_(path|name): .*\n', '', path.read_text(), flags=re.M)
            splits = f'{{test: {data}, validation: {data}}}'
            path.write_text(f'{text}dataset_path: json\ndataset_kwargs: {{data_files: {splits}}}\n')
    loaded = find_tasks(['cbt_*', 'tldr', 'translate_*'], folder)
    assert len(loaded['tasks']) == 5
    first = {}
    for name, task in loaded['tasks'].items():
        task.set_config('num_fewshot', task.get_config('num_fewshot') or 0)
        task.set_fewshot_seed(1)
        task.build_all_requests(limit=2)
        first[name] = task.instances[0].args
    context, continuation = first['cbt_ne']
    assert context.startswith('"They are very kind," said he. I can\'t, he said.')
    assert context.endswith('"Why?" said the') and continuation == ' king; "they won\'t."'
    assert first['tldr'][0] == f'{news["article"]}\nTL;DR:'
    assert (
        first['translate_fr_en'][0]
        == 'le roi est mort = the king is dead\n' * 5 + 'le roi est mort ='
    )
    figures = loaded['tasks']['tldr'].process_results(news, ['The king is dead. The king. He. No.'])
    assert figures['rouge1'] == pytest.approx(100 * 2 * 6 / (6 + 7))
    [run] = run_tasks(lm, find_tasks(['cbt_cn'], folder), [None], 2, 1)
    assert run['results']['cbt_cn']['acc,none'] in (0, 1)


@pytest.mark.parametrize(
    'path, sentence',
    [
        ('json', 'the task broken cannot be loaded: .*nowhere.jsonl.*; once that is settled'),
        ('some/where', 'the task broken cannot be loaded: .*some/where.*; once that is settled'),
    ],
)
def test_data_that_cannot_be_fetched(mine, path, sentence):
    text = (mine / 'choice.yaml').read_text().replace('choice.jsonl', 'nowhere.jsonl')
    text = text.replace('task: choice', 'task: broken').replace('path: json', f'path: {path}')
    (mine / 'broken.yaml').write_text(text)
    with pytest.raises(UserError, match=sentence):
        find_tasks(['broken'], mine)


def test_a_task_that_needs_a_package(mine):
    (mine / 'functions.py').write_text('import a_package_of_its_own\n')
    text = (mine / 'choice.yaml').read_text().replace('task: choice', 'task: needs')
    text = text.replace('doc_to_text: question', 'doc_to_text: !function functions.text')
    (mine / 'needs.yaml').write_text(text)
    with pytest.raises(UserError, match='run: pip install a_package_of_its_own'):
        find_tasks(['needs'], mine)
