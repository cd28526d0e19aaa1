"""The batch that texts join and leave at any token: who waits, who runs, what each gets."""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ..loading import Model
from ..stops import Text
from . import programs
from .metrics import Metrics
from .programs import PIECES, STEPS, Rows, Settings
from .requests import ApiError, Asked
from .rows import Row, settings_of


class Engine:
    """A model's batch of `rows` texts at a time, for which up to most_waiting requests wait.

    `run` is for a thread of its own. A text that fills n_ctx goes on after its last half, which is
    read again.
    """

    def __init__(self, model: Model, rows: int = 8, most_waiting: int = 64):
        self.model, self.most_waiting = model, most_waiting
        params, hparams, _ = model
        self.memory = programs.memory_of(hparams, rows)
        self.programs = {
            size: programs.programs(params, hparams, programs.up_to(self.memory, size))
            for size in programs.sizes(hparams)
        }
        # Of how many rows a token is computed, by the last one that runs: few, as all are compiled.
        self.counts = [count for count in (1, 4, 16, 64, 256) if count < rows] + [rows]
        self.slots: list[Row | None] = [None] * rows
        self.rows = Rows(
            ids=np.zeros([rows, hparams.n_ctx + 1], np.int32),
            start=np.ones(rows, np.int32),
            n=np.ones(rows, np.int32),
            filled=np.zeros(rows, np.int32),
            uniform=np.ones([rows, STEPS], np.float32),
        )
        self.settings: dict[int, Settings] = {}  # of the first so many rows, until one joins
        self.changed, self.closed = threading.Condition(), False
        self.waiting: list[deque[Row]] = []  # of each request
        self.metrics = Metrics()

    # Of any thread

    def rows_of(self, asked: Asked, deliver: Callable) -> list[Row]:
        """The texts of a request: of each prompt some, numbered 0, 1, ..."""
        options, enc = asked.options, self.model.enc
        return [
            Row(
                context=prompt,
                options=options,
                text=Text(enc, options.stops, options.include_stop, prompt),
                deliver=deliver,
                number=number,
                min_tokens=asked.min_tokens,
                scored=asked.echo and asked.logprobs is not None,
            )
            for prompt in asked.prompts
            for number in range(asked.best_of)
        ]

    def submit(self, rows: Sequence[Row]) -> None:
        """Have the rows of a request made; raises ApiError where too many requests wait."""
        with self.changed:
            if len(self.waiting) >= self.most_waiting + self.slots.count(None):
                what = f'{self.most_waiting} requests wait already; try again later'
                raise ApiError(what, 429, code='rate_limit_exceeded', type='rate_limit_error')
            for row in rows:
                row.request, row.came = rows, time.monotonic()
            self.waiting.append(deque(rows))
            self.changed.notify()

    def leave(self, rows: Sequence[Row]) -> None:
        """Nobody wants these any more."""
        for row in rows:
            row.left = True

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify()

    @property
    def running(self) -> int:
        return len(self.slots) - self.slots.count(None)

    @property
    def queued(self) -> int:
        return sum(map(len, list(self.waiting)))

    # Of its own thread

    def run(self) -> None:
        """Make texts until it is closed."""
        while not self.closed:
            with self.changed:
                self._admit()
                while not self.running and not self.closed:
                    self.changed.wait()
                    self._admit()
            try:
                self.advance()
            except Exception as error:  # of this batch; the next one may do
                traceback.print_exc()
                for row in filter(None, self.slots):
                    self._end(row, error)

    def advance(self) -> None:
        """Read one piece of one prompt, and draw a token of each text that is read; more, where
        nobody has a prompt to be read, and none is to go on after its last half."""
        n_ctx = self.model.hparams.n_ctx
        self._close_up()
        if reading := [row for row in self.slots if row and not self._is_read(row)]:
            self._read(min(reading, key=lambda row: row.came))
        ready = [row for row in self.slots if row and self._is_read(row)]
        for row in [row for row in ready if row.is_full]:  # of no tokens
            ready.remove(row)
            self._end(row, row.text.finish())
        if ready:
            whole = all(self.rows.n[row.slot] < n_ctx for row in ready)
            self._step(ready, 1 if reading or not whole else STEPS)

    def compile(self) -> None:
        """Compile all that there is, with a bar for those who wait."""
        pieces = sorted({min(n, self.model.hparams.n_ctx) for n in PIECES})
        works = [(self._run_step, n, size, 1) for n in self.counts for size in self.programs]
        works += [(self._run_read, 0, 0, n, size, True) for n in pieces for size in self.programs]
        works.append((programs.move, self.memory, tf.constant(0), tf.constant(0)))
        with tqdm(works, 'Compiling', unit=' programs', leave=False, disable=None) as bar:
            for work, *given in bar:
                work(*given)

    def _admit(self) -> None:
        """Fill the places that are free, and those of who left.

        Of the requests that wait the one with the fewest texts running comes first, then the one
        that came first: so none waits for all of another's, and none for ever.
        """
        for row in self.slots:
            if row and row.left:
                self._free(row)
        rows = [[row for row in waiting if not row.left] for waiting in self.waiting]
        self.waiting = [deque(waiting) for waiting in rows if waiting]
        while self.waiting and None in self.slots:
            running = [row.request for row in self.slots if row]
            turn = min(self.waiting, key=lambda waiting: running.count(waiting[0].request))
            self._join(turn.popleft(), self.slots.index(None))
            self.waiting = [waiting for waiting in self.waiting if waiting]

    def _join(self, row: Row, slot: int) -> None:
        self.slots[slot], row.slot = row, slot
        self._write(slot, row.context)
        self.rows.start[slot] = len(row.context)
        self.settings.clear()
        self.metrics.prompt_tokens += len(row.context)

    def _close_up(self) -> None:
        """Move the last row to the first free place, where fewer are then computed."""
        last = max(row.slot for row in self.slots if row)
        while self._count(self.running) < self._count(last + 1):
            row, free = self.slots[last], self.slots.index(None)
            programs.move(self.memory, tf.constant(last), tf.constant(free))
            for values in self.rows:
                values[free] = values[last]
            self._free(row)
            self.slots[free], row.slot = row, free
            self.settings.clear()
            last = max(row.slot for row in self.slots if row)

    def _count(self, rows: int) -> int:
        """Of how many rows a token is computed, where so many are wanted."""
        return next(count for count in self.counts if count >= rows)

    def _write(self, slot: int, ids: Sequence[int]) -> None:
        """A text of which nothing is read."""
        self.rows.ids[slot, : len(ids)] = ids
        self.rows.n[slot], self.rows.filled[slot] = len(ids), 0

    def _free(self, row: Row) -> None:
        self.slots[row.slot] = None
        self.rows.n[row.slot], self.rows.filled[row.slot] = 1, 0

    def _end(self, row: Row, last: str | Exception) -> None:
        self._free(row)
        row.deliver(row, last, len(row.text.tokens), row.text.ended)

    def _is_read(self, row: Row) -> bool:
        return self.rows.filled[row.slot] == self.rows.n[row.slot] - 1

    def _size(self, n: int) -> int:
        return next(size for size in self.programs if size >= n)

    def _read(self, row: Row) -> None:
        """One piece more; at the end of n_ctx some of what is before it once again."""
        slot, n_ctx = row.slot, self.model.hparams.n_ctx
        n, filled = int(self.rows.n[slot]), int(self.rows.filled[slot])
        piece = min(next((p for p in PIECES if p >= n - 1 - filled), PIECES[-1]), n_ctx)
        begin = min(filled, n_ctx - piece)
        scores = self._run_read(slot, begin, piece, self._size(begin + piece), row.scored)
        end = min(begin + piece, n - 1)
        if row.scored and not row.text.tokens:
            log_probs, *best = (x[filled - begin : end - begin].tolist() for x in scores)
            row.prompt_log_probs += log_probs
            row.prompt_best += map(pairs, *best)
        self.rows.filled[slot] = end

    def _run_read(self, slot: int, begin: int, piece: int, size: int, scored: bool) -> list:
        ids = self.rows.ids[slot]
        X = tf.constant(ids[None, begin : begin + piece])
        h = self.programs[size].read(tf.constant(slot), tf.constant(begin), X)
        if not scored:
            return []
        scores = programs.score(
            self.model.params, h, tf.constant(ids[begin + 1 : begin + piece + 1])
        )
        return [x.numpy() for x in scores]

    def _step(self, ready: list[Row], steps: int) -> None:
        """So many tokens of each of these rows; what the others' places give goes nowhere."""
        for row in ready:
            uniforms = row.uniforms[len(row.text.tokens) :][:STEPS]
            self.rows.uniform[row.slot, : len(uniforms)] = uniforms
        size = self._size(steps + max(int(self.rows.filled[row.slot]) for row in ready))
        count = self._count(ready[-1].slot + 1)
        drawn = [x.tolist() for x in self._run_step(count, size, steps)]
        for row in ready:
            tokens, log_probs, *best = (x[row.slot] for x in drawn)
            for i in range(steps):
                if not row.text.ended:
                    self._take(row, tokens[i], log_probs[i], pairs(*(x[i] for x in best)))

    def _take(self, row: Row, token: int, log_prob: float, best: list) -> None:
        self.metrics.count_tokens(1)
        if not row.text.tokens:
            self.metrics.count_first_token(time.monotonic() - row.came)
        new = row.add(token, log_prob, best)
        if row.text.ended:
            self._end(row, new)
        else:
            self._append(row.slot, token)
            row.deliver(row, new, len(row.text.tokens), None)

    def _run_step(self, count: int, size: int, steps: int) -> list[np.ndarray]:
        if count not in self.settings:
            n_vocab, end = self.model.hparams.n_vocab, self.model.enc.end_of_text
            self.settings[count] = settings_of(self.slots[:count], n_vocab, end)
        rows, steps = Rows(*(tf.constant(x[:count]) for x in self.rows)), tf.constant(steps)
        drawn, presents = self.programs[size].feed(rows, self.settings[count], steps)
        self.programs[size].write(presents, rows.filled, steps)
        return [x.numpy() for x in drawn]

    def _append(self, slot: int, token: int) -> None:
        """What has filled n_ctx is its last half from now on, and the token, all of it unread."""
        ids, n, n_ctx = self.rows.ids[slot], self.rows.n[slot], self.model.hparams.n_ctx
        ids[n] = token
        if n < n_ctx:
            self.rows.n[slot] += 1
            self.rows.filled[slot] += 1
            return
        keep = n_ctx // 2
        self._write(slot, ids[-keep:].copy())
        self.rows.start[slot] = max(0, self.rows.start[slot] - (n_ctx + 1 - keep))


def pairs(tokens: list[int], log_probs: list[float]) -> list[tuple[int, float]]:
    return list(zip(tokens, log_probs, strict=True))
