"""Log-likelihoods of tokens after others: in batches, with logits only where they are asked for."""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from .. import runtime
from ..cache import split_past
from ..errors import UserError
from ..hparams import HParams
from ..model import hidden, predict
from ..sample import padded

AT_ONCE = 512  # positions whose logits exist at one time: 103 MB of them for n_vocab 50257
LONG = 512  # tokens from which a row's length, rounded up to a multiple of STEP, has its own graph
STEP = 128
FILLED = 3 / 4  # how long a row is at least, beside the longest of its batch

IDS = tf.TensorSpec([None, None], tf.int32)
PLACES = tf.TensorSpec([None, 2], tf.int32)  # row, position
NUMBERS = tf.TensorSpec([None], tf.int32)
PAST = tf.TensorSpec([None] * 6, tf.float32)


class Scorer:
    """Scores continuations of contexts, `batch_size` rows at a time.

    What is long, the blocks, is traced once, for rows of any number and any length: XLA would
    compile each size, for seconds, and is no faster where so much is multiplied at once. Only long
    rows are worth a graph for each of a few lengths: where the shape is known, model.py computes
    less of the attention, and elementwise functions as single kernels.
    """

    def __init__(self, params: dict, hparams: HParams, batch_size: int = 8):
        self.params, self.hparams, self.batch_size = params, hparams, batch_size

    def score(self, requests: Sequence, unit: str = ' requests') -> list:
        """For each (context, continuation), in ids, two arrays as long as the continuation:

        the log-likelihoods of its tokens, and whether each is the most probable one. A context
        that does not fit into n_ctx loses its beginning, which is said. Raises UserError for a
        continuation that does not fit, for nothing, and where the memory is too small.
        """
        requests = self._fitting(requests)
        results = [None] * len(requests)
        with (
            runtime.explained(f'set a lower --batch_size than {self.batch_size}'),
            tqdm(requests, 'Scoring', unit=unit, leave=False, disable=None) as bar,
        ):
            for numbers, scores in self._batches(requests):
                for number, score in zip(numbers, scores, strict=True):
                    results[number] = score
                bar.update(len(numbers))
        return results

    def _fitting(self, requests) -> list:
        """The requests, of contexts the last tokens where all do not fit; says how many."""
        n_ctx, fitting, cut = self.hparams.n_ctx, [], 0
        for context, continuation in requests:
            room = n_ctx + 1 - len(continuation)  # the last token is predicted, not read
            if not len(context) or not 1 <= len(continuation) <= n_ctx:
                raise UserError(
                    f'{len(continuation)} tokens after {len(context)} cannot be scored; '
                    f'give from 1 to the n_ctx of {n_ctx}, and at least one before them'
                )
            ids = np.concatenate([context, continuation])
            if ids.min() < 0 or ids.max() >= self.hparams.n_vocab:  # zeros, on a GPU
                raise UserError(f'a token id is outside 0 to {self.hparams.n_vocab - 1}')
            cut += len(context) > room
            fitting.append((context[-room:], continuation))
        say_cut(cut, len(requests), n_ctx)
        return fitting

    def _batches(self, requests) -> Iterator[tuple[list[int], list]]:
        """Yield (numbers of requests, their scores), the longest first.

        A context with several continuations, as in a multiple choice, is computed once.
        """
        groups = {}
        for number, (context, _) in enumerate(requests):
            groups.setdefault(np.asarray(context, np.int32).tobytes(), []).append(number)
        alone, shared = [], []
        for group in groups.values():
            if len(group) > 1 and len(requests[group[0]][0]) > 1:
                shared.append(group)
            else:
                alone += [[number] for number in group]
        for batch in self._together(alone, lambda number: sum(map(len, requests[number]))):
            numbers = [number for [number] in batch]
            rows = [[*requests[number][0], *requests[number][1][:-1]] for number in numbers]
            yield numbers, self._score(rows, [requests[number][1] for number in numbers])
        for batch in self._together(shared, lambda number: len(requests[number][0])):
            yield from self._after(batch, requests)

    def _together(self, groups: list[list[int]], length) -> Iterator[list[list[int]]]:
        """Yield groups of about the same length(number), the longest first, in batches."""
        batch = []
        for group in sorted(groups, key=lambda group: -length(group[0])):
            rows = sum(map(len, batch)) + len(group)
            if batch and (
                rows > self.batch_size or length(group[0]) < FILLED * length(batch[0][0])
            ):
                yield batch
                batch = []
            batch.append(group)
        if batch:
            yield batch

    def _after(self, groups, requests) -> Iterator[tuple[list[int], list]]:
        """Yield the scores of groups of requests that share a context each.

        The last token of a context is read anew with each continuation: it predicts its first.
        """
        past = self._present(
            padded([requests[group[0]][0][:-1] for group in groups]).astype(np.int32)
        )
        members = [(owner, number) for owner, group in enumerate(groups) for number in group]
        for start in range(0, len(members), self.batch_size):
            owners, numbers = zip(*members[start : start + self.batch_size], strict=True)
            batch = [requests[number] for number in numbers]
            rows = [[context[-1], *continuation[:-1]] for context, continuation in batch]
            lengths = np.array([len(context) - 1 for context, _ in batch], np.int32)
            options = (past, np.array(owners, np.int32), lengths)
            yield numbers, self._score(rows, [continuation for _, continuation in batch], *options)

    def _score(self, rows, continuations, *past) -> list[tuple[np.ndarray, np.ndarray]]:
        """The scores of continuations, predicted by as many of the last tokens of `rows`."""
        places = [
            (i, len(row) - len(continuation) + j)
            for i, (row, continuation) in enumerate(zip(rows, continuations, strict=True))
            for j in range(len(continuation))
        ]
        X, places = padded(rows).astype(np.int32), np.array(places, np.int32)
        if past:
            h = self._states_after(X, places, *past)
        elif X.shape[1] < LONG:
            h = self._states(X, places)
        else:
            length = min(-X.shape[1] // STEP * -STEP, self.hparams.n_ctx)
            h = tf.gather_nd(self._long(np.pad(X, [(0, 0), (0, length - X.shape[1])])), places)
        targets = np.concatenate(continuations).astype(np.int32)
        starts = range(0, len(targets), AT_ONCE)
        scores = [self._likelihoods(h[i : i + AT_ONCE], targets[i : i + AT_ONCE]) for i in starts]
        ends = np.cumsum([len(continuation) for continuation in continuations])[:-1]
        logs, best = (np.split(np.concatenate(x), ends) for x in zip(*scores, strict=True))
        return list(zip(logs, best, strict=True))

    @tf.function(input_signature=[IDS], autograph=False)
    def _present(self, X):
        """The keys and values of X, without its logits."""
        presents = hidden(self.params, self.hparams, X)[1]
        return tf.stack([tf.stack(present, axis=1) for present in presents], axis=1)

    @tf.function(input_signature=[IDS, PLACES], autograph=False)
    def _states(self, X, places):
        return tf.gather_nd(hidden(self.params, self.hparams, X)[0], places)

    @tf.function(autograph=False)
    def _long(self, X):
        return hidden(self.params, self.hparams, X)[0]

    @tf.function(input_signature=[IDS, PLACES, PAST, NUMBERS, NUMBERS], autograph=False)
    def _states_after(self, X, places, past, owners, lengths):
        """past: of contexts; owners [rows]: which is a row's; lengths [rows]: its tokens."""
        hparams = self.hparams
        shape = [None, hparams.n_layer, 2, hparams.n_head, None, hparams.n_embd // hparams.n_head]
        past = tf.gather(tf.ensure_shape(past, shape), owners)
        pasts = [[layer] for layer in split_past(past, lengths)]
        return tf.gather_nd(hidden(self.params, hparams, X, pasts)[0], places)

    def _likelihoods(self, h, targets):
        """Of targets [positions], given the states that predict them; and which are arg-max."""
        n = len(targets)
        padding = min(max(32, 1 << (n - 1).bit_length()), AT_ONCE) - n
        logits = predict(self.params, tf.pad(h, [[0, padding], [0, 0]]))
        return [x[:n] for x in likelihoods(logits, tf.constant(np.pad(targets, [0, padding])))]


@tf.function(jit_compile=True, autograph=False)
def likelihoods(logits, targets):
    """Log-likelihoods of targets [batch] under logits [batch, n_vocab], and whether arg-max.

    XLA reads the logits twice, which without it takes as long as half of computing them. It
    compiles each size anew: a power of two from 32 to AT_ONCE.
    """
    highest = tf.reduce_max(logits, axis=-1)
    asked = tf.gather(logits, targets, batch_dims=1)
    total = tf.reduce_sum(tf.exp(logits - highest[:, None]), axis=-1)
    return asked - highest - tf.math.log(total), asked >= highest


def say_cut(number: int, total: int, n_ctx: int) -> None:
    """Say on stderr how many contexts, if any, were too long."""
    if number:
        print(
            f'{number:,} of {total:,} contexts do not fit into the n_ctx of {n_ctx} with what '
            'follows: their beginnings are left out',
            file=sys.stderr,
        )
