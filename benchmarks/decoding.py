"""Counts in how many random cases penalties, truncations and beams are those of Transformers."""

import itertools
import json
from pathlib import Path

import numpy as np
import peers
import tensorflow as tf
from tqdm import tqdm

from gpt2 import beam, checkpoint, cli, processors, runtime, sample
from gpt2.hparams import HParams
from gpt2.model_folder import load_hparams
from gpt2.options import SamplingOptions
from gpt2.params import flatten, init_params
from gpt2.steps import Written

DATA = Path(__file__).resolve().parent.parent / 'tests' / 'data'
NEVER = -1e9  # a logit below is that of a token which is not to be chosen
VALUES = {
    'repetition_penalty': (0.5, 1.2, 3.0),
    'no_repeat_ngram_size': (1, 2, 3),
    'top_k': (1, 5, 40),
    'min_p': (0.01, 0.1, 0.5),
    'typical_p': (0.2, 0.7, 0.95),
    'top_p': (0.3, 0.8, 0.95),
    'logit_bias': (-5.0, 2.0, 100.0),
}


def written(ids: np.ndarray) -> Written:
    """Rows of ids as the sampler has them, of which the first five are a prompt's."""
    n = tf.fill([len(ids)], ids.shape[1])
    padded = tf.pad(tf.constant(ids, tf.int32), [[0, 0], [0, 4]])
    return Written(padded, tf.fill([len(ids)], 5), n, tf.zeros([len(ids), 0]), ())


@tf.function(jit_compile=True)
def ours(logits, written, settings):
    if 'temperature' in settings:
        return sample.truncated(logits, settings)
    return processors.penalised(logits, written, settings)


def theirs(name: str, value, ids, logits):
    """What Transformers' own processor makes of logits [batch, n_vocab] after ids [batch, n]."""
    import torch
    from transformers.generation import logits_process as process

    kinds = {
        'repetition_penalty': process.RepetitionPenaltyLogitsProcessor,
        'no_repeat_ngram_size': process.NoRepeatNGramLogitsProcessor,
        'top_k': process.TopKLogitsWarper,
        'min_p': process.MinPLogitsWarper,
        'typical_p': process.TypicalLogitsWarper,
        'top_p': process.TopPLogitsWarper,
        'logit_bias': process.SequenceBiasLogitsProcessor,
    }
    if name == 'logit_bias':
        value = {(3,): value}
    return kinds[name](value)(torch.tensor(ids), torch.tensor(logits)).numpy()


def compare_processors(cases: int, random) -> dict:
    """Print a line for each; a few cases, to be kept as figures."""
    kept = {}
    for name, values in VALUES.items():
        equal, differs = 0, 0.0
        for number in tqdm(range(cases), name, leave=False, disable=None):
            value = values[number % len(values)]
            logits = random.normal(0, 4, [4, 200]).astype(np.float32)
            ids = random.integers(0, 12, [4, 30])
            asked = {3: value} if name == 'logit_bias' else value
            settings = processors.settings_of(SamplingOptions(**{name: asked}), 200)
            if name not in ('top_k', 'min_p', 'typical_p', 'top_p'):
                del settings['temperature']
            found = ours(logits, written(ids), settings).numpy()
            expected = theirs(name, value, ids, logits)
            if name == 'top_p':  # the original drops the token that crosses p, unless it is alone
                last = np.where(expected > NEVER, expected, np.inf).argmin(-1)
                alone = (expected > NEVER).sum(-1) == 1
                expected[~alone, last[~alone]] = -np.inf
            out, there = found <= NEVER, expected <= NEVER
            equal += np.array_equal(out, there)
            both = ~out & ~there
            differs = max(differs, float(np.abs(found[both] - expected[both]).max(initial=0)))
            if number < len(values):
                kept |= {f'{name}/{value}/logits': logits, f'{name}/{value}/ids': ids}
                kept[f'{name}/{value}/expected'] = np.maximum(expected, -1e10).astype(np.float32)
        print(f'{name:24} {equal} of {cases} keep the same tokens, logits within {differs:.0e}')
    return kept


def beam_cases(count: int, n_vocab: int, lengths, random):
    """Prompts, what is asked of beams after them, and where in a text found its end is to be."""
    grid = itertools.product((2, 4, 8), lengths, (False, True, 'never'), (True, False))
    for beams, length, early_stopping, ends in itertools.islice(itertools.cycle(grid), count):
        penalty, ngram = [(1.0, 0), (1.3, 2)][random.integers(2)]
        options = {
            'num_beams': beams,
            'length': length,
            'early_stopping': early_stopping,
            'length_penalty': float(random.choice([0.0, 0.6, 1.0, 2.0, -1.0])),
            'repetition_penalty': penalty,
            'no_repeat_ngram_size': ngram,
        }
        prompt = random.integers(0, n_vocab, random.integers(1, 15)).tolist()
        yield prompt, options, float(random.random()) if ends else None


def their_beams(peer, prompt, options, end) -> list:
    import torch

    options = options | {'max_new_tokens': options['length']}
    del options['length']
    ids = torch.tensor([prompt])
    found = peer.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_return_sequences=options['num_beams'],
        do_sample=False,
        eos_token_id=end,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    texts = [row[len(prompt) :].tolist() for row in found.sequences]
    if end is not None:
        texts = [row[: row.index(end) + 1] if end in row else row for row in texts]
    pairs = zip(texts, found.sequences_scores.tolist(), strict=True)
    return [[text, score] for text, score in pairs if score > NEVER / 2]


def compare_beams(name: str, params, hparams: HParams, cases) -> list:
    """Print a line; the cases with what Transformers found, to be kept as figures."""
    peer, equal, differs, kept = peers.transformers_model(params, hparams), 0, 0.0, []
    cases = list(cases)
    for prompt, options, place in tqdm(cases, name, leave=False, disable=None):
        found, end = beam.search(params, hparams, prompt, SamplingOptions(**options), None), None
        if place is not None:  # a token that does come
            end = int(found[-1].tokens[int(place * options['length'])])
            found = beam.search(params, hparams, prompt, SamplingOptions(**options), end)
        expected = their_beams(peer, prompt, options, end)
        same = [text for text, _ in expected] == [one.tokens.tolist() for one in found]
        equal += same
        if same:
            pairs = zip(found, expected, strict=True)
            differs = max([differs, *(abs(one.score - score) for one, (_, score) in pairs)])
        else:
            print(f'other texts: {prompt} {options} {end}')
        kept.append({'prompt': prompt, 'options': options, 'end': end, 'found': expected})
    print(f'{name:24} {equal} of {len(cases)} find the same texts, scores within {differs:.0e}')
    return kept


def compare(cases: int = 100, beams: int = 200, large: int = 12, keep: bool = False):
    """
    Compare with Transformers: pip install torch transformers

    :cases=100 : Random cases of each penalty and truncation
    :beams=200 : Random cases of beam search on the tiny random model
    :large=12 : And on random parameters of the 124M shape
    :keep=False : Write some of what Transformers gives to tests/data
    """
    runtime.start()
    random = np.random.default_rng(0)
    arrays = compare_processors(cases, random)
    hparams = load_hparams(DATA / 'tiny-random')
    params = checkpoint.load_params(DATA / 'tiny-random', hparams)
    found = compare_beams(
        'beams, tiny', params, hparams, beam_cases(beams, 512, (3, 12, 40), random)
    )
    if large:
        hparams = HParams(n_vocab=50257)
        params = init_params(hparams, seed=0)
        for i, value in enumerate(flatten(params).values()):
            value.assign_add(tf.random.stateless_normal(value.shape, [1, i], stddev=0.02))
        compare_beams('beams, 124M', params, hparams, beam_cases(large, 50257, (12, 40), random))
    if keep:
        np.savez_compressed(DATA / 'processors.npz', **arrays)
        lines = ',\n'.join(json.dumps(one) for one in found[::5])
        (DATA / 'beams.json').write_text(f'[\n{lines}\n]\n')


if __name__ == '__main__':
    cli.run(compare)
