"""Trainings on rows that are put into a template."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA, write_model
from gpt2.checkpoint import load_params
from gpt2.encoder import read_encoder
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.model import model
from gpt2.params import flatten, init_params
from gpt2.special_tokens import specials
from gpt2.template import Row
from gpt2.training import flags as flags_of
from gpt2.training import loop
from gpt2.training.prepare import prepare
from gpt2.training.row_job import Rows, arrays, shortened
from gpt2.training.trainer import Trainer
from jobs import SHAPE, SMALL, default_flags, new_job, train, working_directory  # noqa: F401

TEMPLATE = '{context}<question>{question}<answer>{answer}</s>'
FORM = {'template': TEMPLATE, 'loss_on': 'answer', 'special_tokens': '<question>,<answer>,</s>'}
QUESTIONS = str(DATA / 'tasks' / 'questions.jsonl')
RUN = Path('checkpoint', 'run1')
TINY = HParams(n_vocab=30, n_ctx=16, n_embd=8, n_head=2, n_layer=2)


def new_rows(lengths=(9, 14, 5, 12), learnt=4):
    """Of random ids, the last `learnt` of which count."""
    random = np.random.default_rng(1)
    rows = []
    for n in lengths:
        counts = np.arange(n) >= n - learnt
        rows.append(Row(random.integers(0, 30, n, np.int32), counts, n - learnt))
    return rows


def expected_losses(params, rows):
    """The cross-entropies of all that counts, each row's alone, by the logits of `model`."""
    losses = []
    for row in rows:
        logits = model(params, TINY, row.ids[None])['logits'][0, :-1].numpy().astype(np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        found = -log_probs[np.arange(len(row.ids) - 1), row.ids[1:]]
        losses += found[row.counts[1:]].tolist()
    return losses


def new_trainer(job):
    params = init_params(TINY, seed=1)
    random = tf.random.Generator.from_seed(1)
    for variable in flatten(params).values():
        variable.assign_add(random.normal(variable.shape, stddev=0.2))
    return Trainer(params, TINY, loss=job.loss())


@pytest.fixture(name='job')
def job_on_questions():
    return new_job(dataset=QUESTIONS, context_length=None, **FORM)


def test_the_loss_is_the_mean_over_the_tokens_that_count(job):
    """Of all batches of a step together, whatever pads them."""
    rows, trainer = new_rows(learnt=2), new_trainer(job)
    rows[1] = rows[1]._replace(counts=np.arange(14) >= 3)
    expected = np.mean(expected_losses(trainer.params, rows))
    for shape in ([1, 4], [2, 2], [4, 1]):
        inputs, targets = next(Rows(rows, 16).batches(30, 1, 0, shape))
        assert inputs.shape == (*shape, 16)
        loss, *_ = trainer._gradients(inputs, targets, tf.constant(0, tf.int64), 1.0)
        assert float(loss) == pytest.approx(expected, rel=1e-5), shape
    ids, weights = arrays(rows, 16)
    found = float(trainer.loss(ids, {'ids': ids, 'weights': weights}))
    assert found == pytest.approx(expected, rel=1e-5)


def gradients(trainer, ids, labels, weights):
    targets = {'ids': labels[None], 'weights': weights[None]}
    return trainer._gradients(ids[None], targets, tf.constant(0, tf.int64), 1.0)


def test_what_does_not_count_moves_nothing(job):
    """The gradients are those of the tokens that count: labels elsewhere may be any."""
    rows, trainer = new_rows(), new_trainer(job)
    ids, weights = arrays(rows, 16)
    other = np.where(weights > 0, ids, (ids + 7) % 30)
    both = [gradients(trainer, ids, labels, weights) for labels in (ids, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*both, strict=True))
    padded = np.where(np.arange(16) < [[len(row.ids)] for row in rows], ids, 3)
    for a, b in zip(both[0], gradients(trainer, padded, ids, weights), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_batches_depend_on_seed_and_step_alone():
    rows = Rows(new_rows([*range(4, 24)]), 32)

    def drawn(step, count, **options):
        batches = rows.batches(30, 3, step, [2, 3], **options)
        return [next(batches) for _ in range(count)]

    for one, other in zip(drawn(0, 6, noise=0.3)[2:], drawn(2, 4, noise=0.3), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    noisy, targets = drawn(0, 1, noise=0.3)[0]
    assert (
        0.1 < np.mean(noisy != targets['ids']) < 0.5 and (drawn(0, 1)[0][0] == targets['ids']).all()
    )


@pytest.mark.parametrize(
    'side, kept, start',
    [('left', slice(4, 9), 1), ('right', slice(0, 5), 5), ('left', slice(9), 5)],
)
def test_a_row_is_cut_on_one_side(side, kept, start):
    [row] = new_rows([9])
    found = shortened(row, 5 if kept != slice(9) else 9, side)
    assert np.array_equal(found.ids, row.ids[kept]) and found.start == start
    assert np.array_equal(found.counts, row.counts[kept])


def test_rows_that_are_cut_are_counted(capsys):
    job = new_job(dataset=QUESTIONS, context_length=24, **FORM)
    longer = sum(
        len(job.template.encode(json.loads(line)).ids) > 24
        for line in Path(QUESTIONS).read_text().splitlines()
    )
    said = capsys.readouterr().out.splitlines()
    told = 'rows of more than 24 tokens, which lose their beginning'
    assert said[0] == f'{QUESTIONS}: {told}: {longer}'
    assert 0 < longer < 20 and said[1].endswith(' tokens in 20 rows')
    assert all(len(row.ids) <= 24 and row.ids[-1] == 1026 for row in job.sampler.rows)
    job = new_job(dataset=QUESTIONS, context_length=22, cut='right', run_name='right', **FORM)
    said = capsys.readouterr().out.splitlines()
    left = 20 - len(job.sampler.rows)
    assert ', which lose their end: ' in said[0]
    assert said[1].endswith(f': rows without anything to learn, which are left out: {left}')
    assert 0 < len(job.sampler.rows) < 20
    with pytest.raises(UserError, match='questions.jsonl holds no row to learn from; name a file'):
        new_job(dataset=QUESTIONS, context_length=4, cut='right', **FORM)


def test_the_model_gets_the_tokens_and_its_folder_knows_them(capsys):
    job = new_job(dataset=QUESTIONS, run_name='other', **FORM)
    assert (job.start.hparams.n_vocab, job.start.added, SHAPE.n_vocab) == (1027, 3, 1024)
    step, said = train(dataset=QUESTIONS, **FORM, max_steps=1, learning_rate=0.0, val_every=1)
    before, after = load_params(SMALL, SHAPE)['wte'].numpy(), None
    for folder in (RUN, RUN / 'best'):
        enc = read_encoder(folder, 1027)
        assert {'<question>': 1024, '<answer>': 1025, '</s>': 1026}.items() <= specials(enc).items()
        assert json.loads((folder / 'template.json').read_text()) == {
            'template': TEMPLATE,
            'loss_on': ['answer'],
        }
        after = load_params(folder, job.start.hparams)['wte'].numpy()
        assert np.array_equal(after[:1024], before)
        assert np.abs(after[1024:] - before.mean(axis=0)).max() < 0.1
    assert len(np.unique(after[1024:], axis=0)) == 3
    assert said[-1].endswith('Saving checkpoint/run1/model-1') and step == 1
    capsys.readouterr()
    again = new_job(dataset=QUESTIONS, **FORM, model_name='checkpoint/run1', run_name='more')
    assert again.start.added == 0 and again.files().keys() == {'template.json'}
    told = 'Tokens already, for which none are added: <question>, <answer>, </s>'
    assert told in capsys.readouterr().out.splitlines()


def test_from_scratch():
    shape = {'n_layer': 1, 'n_head': 2, 'n_embd': 16, 'n_ctx': 64}
    step, _ = train(dataset=QUESTIONS, **FORM, restore_from='scratch', **shape, max_steps=1)
    hparams = HParams(n_vocab=1027, n_ctx=64, n_embd=16, n_head=2, n_layer=1)
    assert step == 1 and load_params(RUN, hparams)['wte'].shape == (1027, 16)


def test_stopped_and_gone_on_is_never_stopped():
    """Bit for bit, the optimizer's state and the losses too; across the border of an epoch."""
    flags = {'dataset': QUESTIONS, 'batch_size': 3, 'accumulate_gradients': 2, 'dropout': 0.1}
    flags |= {'noise': 0.1, 'learning_rate': 0.01, 'val_every': 2, 'val_batch_count': 3}
    train(**FORM, **flags, run_name='whole', max_steps=6)
    train(**FORM, **flags, run_name='parts', max_steps=3)
    said = []
    given = {'run_name': 'parts', 'max_steps': 6, 'template': '{a}: {b}', 'special_tokens': '<a>'}
    job = prepare(default_flags(**given), said.append, given)
    assert said[:2] == [
        f"template stays {TEMPLATE}, the run's own",
        "special_tokens stays <question>,<answer>,</s>, the run's own",
    ]
    assert loop.train(job, said.append) == 6
    assert 'Going on with checkpoint/parts after step 3, with its own model and seed' in said
    for name in ('model-6.data-00000-of-00001', 'state-6.data-00000-of-00001', 'losses.csv'):
        one, other = (Path('checkpoint', run, name).read_bytes() for run in ('whole', 'parts'))
        assert one == other, name


def test_the_validation_loss_is_of_the_named_fields_of_its_rows():
    lines = Path(QUESTIONS).read_text().splitlines(keepends=True)
    Path('held.jsonl').write_text(''.join(lines[3:8]))
    job = new_job(dataset=QUESTIONS, val_dataset='held.jsonl', val_batch_count=2, **FORM)
    params = job.params(job.start.hparams, 1)
    trainer = Trainer(params, job.start.hparams, loss=job.loss())
    losses = []
    for row in job.val_sampler.rows[:4]:  # two batches of two
        logits = model(params, job.start.hparams, row.ids[None])['logits'][0, :-1].numpy()
        found = tf.nn.sparse_softmax_cross_entropy_with_logits(row.ids[1:], logits).numpy()
        losses += found[row.counts[1:]].tolist()
    figures = job.validation(trainer)
    assert figures['validation_loss'] == pytest.approx(np.mean(losses), rel=1e-5)
    assert figures['perplexity'] == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)


def test_a_sample_continues_a_row_until_its_end(monkeypatch):
    monkeypatch.setattr(Rows, 'sample', lambda self, *_: self.rows[0].ids[: self.rows[0].start])
    _, said = train(
        dataset=QUESTIONS, **FORM, max_steps=60, learning_rate=0.03, sample_every=60,
        sample_length=20, top_k=1, batch_size=20,
    )  # fmt: skip
    [sample] = [line for line in said if 'SAMPLE' in line]
    text = sample.partition('\n')[2].partition('\n')[2]
    start = 'The king sleeps in the tower.<question>Where does the king sleep?<answer>'
    assert text.startswith(start) and text.count('</s>') == 1 and text.endswith('</s>\n')


def test_csv_files_and_several():
    rows = [json.loads(line) for line in Path(QUESTIONS).read_text().splitlines()]
    os.mkdir('rows')
    for number in (0, 1):
        part = rows[number::2]
        lines = [','.join(part[0]), *(','.join(f'"{v}"' for v in row.values()) for row in part)]
        Path('rows', f'{number}.csv').write_text('\n'.join([*lines, '']))
    both = new_job(dataset='rows/*.csv', **FORM).sampler.rows
    one = new_job(dataset=QUESTIONS, run_name='other', **FORM).sampler.rows
    for a, b in zip(both, [*one[0::2], *one[1::2]], strict=True):
        assert np.array_equal(a.ids, b.ids) and np.array_equal(a.counts, b.counts)


def test_a_run_on_text_stays_one():
    train(max_steps=1)
    said = []
    given = {'template': TEMPLATE, 'loss_on': 'answer'}
    facts = {'flags': {'dataset': 'a.txt'}, 'seed': 1}
    found = flags_of.flags_of_run(default_flags(**given), given, facts, said.append)
    assert found.template is found.loss_on is None
    assert said == ["template stays None, the run's own", "loss_on stays None, the run's own"]


CLUSTER = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}'


@pytest.mark.parametrize(
    'flags, sentence',
    [
        ({'loss_on': 'label'}, '--loss_on label is no field of the template, but: context, quest'),
        ({'template': 'no field'}, "--template 'no field' names no field; write one in braces"),
        (
            {'template': '{a}', 'loss_on': None},
            'questions.jsonl line 1 has no field a, but: context, question, ans',
        ),
        ({'special_tokens': 'answer'}, "a special token is a word between signs, .* not 'answer'"),
        ({'column': 'answer'}, 'which columns count; leave out --column answer'),
        ({'only_train_transformer_layers': True}, 'leaves the new tokens of --special_tokens un'),
        ({'cut': 'middle'}, '--cut is left or right, not middle'),
        ({'dataset': 'a.txt'}, 'a.txt is no .csv or .jsonl file; name one that holds rows'),
        ({'dataset': 'a.npz'}, 'a.npz is no .csv or .jsonl file; name one that holds rows'),
        ({'val_dataset': 'a.txt'}, 'a.txt is no .csv or .jsonl file; name one that holds rows'),
        ({'dataset': 'gone.csv'}, 'gone.csv is no file, no folder, and no pattern'),
        ({'template': None}, '--loss_on is for rows; set --template, too, or leave it out'),
    ],
)
def test_mistakes(flags, sentence):
    for name in ('a.txt', 'a.npz'):
        Path(name).write_text('some text')
    with pytest.raises(UserError, match=sentence):
        new_job(**{'dataset': QUESTIONS} | FORM | flags)
    assert not Path('checkpoint').exists()


def test_one_machine(monkeypatch):
    monkeypatch.setenv('TF_CONFIG', CLUSTER)
    with pytest.raises(UserError, match='--template trains on one machine; run: unset TF_CONFIG'):
        new_job(dataset=QUESTIONS, **FORM)


def test_the_run_of_another_program_is_on_text():
    write_model(SMALL, SHAPE)
    RUN.mkdir(parents=True)
    for path in SMALL.glob('*'):
        shutil.copy(path, RUN / path.name.replace('model.ckpt', 'model-7'))
    (RUN / 'checkpoint').write_text('model_checkpoint_path: "model-7"\n')
    (RUN / 'counter').write_text('7\n')
    with pytest.raises(UserError, match='--run_name other --restore_from checkpoint/run1/model-7'):
        new_job(dataset=QUESTIONS, **FORM)
