"""lm-eval's local-completions over the server, beside the model as lm-eval knows it directly."""

import json

import pytest

from live import serve_live  # noqa: F401  a fixture

pytest.importorskip('lm_eval')
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.openai_completions import LocalCompletionsAPI  # noqa: E402

from gpt2.evaluation.lm_eval_model import GPT2  # noqa: E402
from gpt2.evaluation.lm_eval_tasks import find_tasks, run_tasks  # noqa: E402

WORDS = 'love honour king heart night day death crown'.split()
TASKS = {
    'choice': (
        [
            {'question': f'ROMEO:\nWhat is the {word} but my', 'choices': [word, 'lord', 'sweet é']}
            for word in WORDS
        ],
        """output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: 1
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    ),
    'last_word': (
        [
            {'text': f'Now is the {a} of our {b}, and thou'}
            for a, b in zip(WORDS, WORDS[1:], strict=False)
        ],
        """output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: "{{' '+text.split(' ')[-1]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    ),
}


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Tasks with their data; datasets asks no network."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    monkeypatch.setattr(datasets.config, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setenv('DISABLE_MULTIPROC', '1')
    for name, (rows, kind) in TASKS.items():
        data = tmp_path / f'{name}.jsonl'
        data.write_text('\n'.join(map(json.dumps, rows)))
        (tmp_path / f'{name}.yaml').write_text(
            f'task: {name}\ndataset_path: json\ntest_split: test\n'
            f'dataset_kwargs: {{data_files: {{test: {data}}}}}\n{kind}'
        )
    return tmp_path


@pytest.mark.filterwarnings('ignore')
def test_the_same_numbers(live, tasks, monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'none')
    client = LocalCompletionsAPI(
        base_url=f'{live.url}/v1/completions',
        model='demo',
        max_length=256,
        num_concurrent=4,
        batch_size=2,
    )
    assert client.tokenizer_backend == 'remote'  # needs no transformers
    lm, loaded = GPT2.of(live.engine.model), find_tasks([*TASKS], tasks)
    ours, theirs = (run_tasks(model, loaded, [0], None, 1)[0] for model in (lm, client))
    for name in TASKS:
        for key, figure in ours['results'][name].items():
            if isinstance(figure, float):
                assert theirs['results'][name][key] == pytest.approx(figure, rel=1e-4), (name, key)
    until = {'until': ['\n\n', '.', '!', '?', ';'], 'max_gen_toks': 30}
    asked = [
        Instance('generate_until', {}, (f'{word.upper()}:\nWhat say you', until), number)
        for number, word in enumerate(WORDS)
    ]
    assert client.generate_until(asked) == lm.generate_until(asked)
