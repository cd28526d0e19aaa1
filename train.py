#!/usr/bin/env python3
"""Fine-tunes a model on a text, or trains one from scratch."""

import contextlib
import dataclasses
import importlib.util
import itertools
import math
import secrets
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tqdm import tqdm

from gpt2 import cli, runtime
from gpt2.data.load_dataset import Sampler, batches, load_dataset
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.model_folder import find_model
from gpt2.options import check_precision
from gpt2.training.cluster import Cluster, find_cluster
from gpt2.training.run_folder import VOCABULARY, RunFolder, Start, find_start
from gpt2.training.schedule import learning_rate_at


def train(
    dataset: str,
    model_name: str = '117M',
    combine: int = 50000,
    encoding: str = 'utf-8',
    batch_size: int = 1,
    learning_rate: float = 0.00002,
    accumulate_gradients: int = 1,
    memory_saving_gradients: bool = False,
    only_train_transformer_layers: bool = False,
    optimizer: str = 'adam',
    noise: float = 0.0,
    top_k: int = 40,
    top_p: float = 0.0,
    restore_from: str = 'latest',
    run_name: str = 'run1',
    sample_every: int = 100,
    sample_length: int = 1023,
    sample_num: int = 1,
    save_every: int = 1000,
    val_dataset: str | None = None,
    val_batch_size: int = 2,
    val_batch_count: int = 40,
    val_every: int = 0,
    models_dir: str = 'models',
    max_steps: int | None = None,
    seed: int | None = None,
    warmup_steps: int = 0,
    decay_steps: int = 0,
    min_learning_rate: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    dropout: float = 0.0,
    context_length: int | None = None,
    n_layer: int | None = None,
    n_head: int | None = None,
    n_embd: int | None = None,
    n_ctx: int | None = None,
    keep_checkpoints: int = 5,
    column: str | None = None,
    precision: str = 'float32',
):
    """
    Fine-tune GPT-2 on your custom dataset

    Ctrl-C or SIGTERM saves and stops; the same command, without --restore_from, goes on from
    there, with the run's own model and seed.

    :dataset : Input file, folder or pattern (utf-8 text, or .npz files that encode.py made)
    :model_name=117M : Pretrained model name
    :combine=50000 : Put texts shorter than so many letters together in one chunk
    :encoding=utf-8 : Of text files
    :batch_size=1 : Batch size
    :learning_rate=0.00002 : Learning rate
    :accumulate_gradients=1 : Average the gradients of so many batches for one step
    :memory_saving_gradients=False : Compute what is inside a block anew for its gradients
    :only_train_transformer_layers=False : Leave the embeddings and the last norm as they are
    :optimizer=adam : adam or sgd
    :noise=0.0 : Share of input tokens replaced at random, to regularize against typos
    :top_k=40 : For the samples: among how many tokens to draw
    :top_p=0.0 : For the samples: nucleus sampling, overrides top_k if above 0 (0 is off)
    :restore_from=latest : latest (of this run, else the model), fresh (the model, whatever the
     run has), scratch (random parameters), or a checkpoint, by its folder or its prefix
    :run_name=run1 : The run's folder in checkpoint and samples
    :sample_every=100 : Write samples every so many steps, 0 never
    :sample_length=1023 : Tokens in a sample, as far as the context has room
    :sample_num=1 : How many samples
    :save_every=1000 : Write a checkpoint every so many steps, 0 only at the end
    :val_dataset=None : For the validation loss; if None (default), the dataset
    :val_batch_size=2 : Batch size for validation
    :val_batch_count=40 : Batches for validation
    :val_every=0 : Compute the validation loss every so many steps, 0 never
    :models_dir=models : Path to the parent folder of the model folders
    :max_steps=None : Stop when the run has so many steps in all
    :seed=None : Integer that fixes the batches, the noise, the dropout and the samples
    :warmup_steps=0 : Raise the learning rate linearly over the first so many steps
    :decay_steps=0 : Lower it along a cosine until this step, 0 never
    :min_learning_rate=0.0 : to this
    :weight_decay=0.0 : Of matrices, decoupled (AdamW)
    :clip_norm=None : Largest norm of the gradient
    :dropout=0.0 : Share of activations and attention weights dropped
    :context_length=None : Tokens in a training window, if None (default), n_ctx
    :n_layer=None : With --restore_from scratch, the model's shape, if None (default), that of
     the model's hparams.json
    :n_head=None : likewise
    :n_embd=None : likewise
    :n_ctx=None : likewise
    :keep_checkpoints=5 : How many of the run's checkpoints to keep
    :column=None : Which column of a .csv or .jsonl dataset is the text
    :precision=float32 : float32, bfloat16 or float16: what to compute in; the weights and the
     optimizer's state stay float32
    """
    flags = SimpleNamespace(**locals())
    check_flags(flags)
    cluster, run = find_cluster(), RunFolder(run_name)
    shape = {name: getattr(flags, name) for name in ('n_layer', 'n_head', 'n_embd', 'n_ctx')}
    if cluster.is_chief:
        start = find_start(run, restore_from, model_name, models_dir, __file__, shape)
        n_ctx = start.hparams.n_ctx
        if context_length and context_length > n_ctx:
            raise UserError(f'--context_length {context_length} is more than the n_ctx of {n_ctx}')
    else:  # the chief will say the rest
        start = Start(find_model(model_name, models_dir, __file__, files=VOCABULARY))
    enc = get_encoder(start.folder.name, start.folder.parent)
    text = {'combine': combine, 'encoding': encoding, 'column': column}
    sampler = val_sampler = Sampler(load_dataset(enc, dataset, cluster=cluster, **text))
    if val_dataset and cluster.is_chief:
        val_sampler = Sampler(load_dataset(enc, val_dataset, **text))

    if cluster.is_chief:
        run.lock()
    runtime.start(precision, training=True)
    import tensorflow as tf

    from gpt2.training import distribution

    if precision == 'float16' and not tf.config.list_physical_devices('GPU'):
        print('float16 is very slow without a GPU; bfloat16 is not', file=sys.stderr)
    cluster.meet()
    try:
        with runtime.explained(
            'try, one after another: --batch_size 1, --memory_saving_gradients, a smaller '
            '--context_length, --only_train_transformer_layers, --optimizer sgd'
        ):
            fit = Fit(flags, cluster, run, start, enc, sampler, val_sampler)
            interrupts = cli.Interrupts(patient=cluster.size > 1)
            with contextlib.suppress(KeyboardInterrupt):
                fit.loop(interrupts)
            with contextlib.suppress(KeyboardInterrupt), interrupts:
                fit.save()
            distribution.gather(fit.strategy, [fit.step])  # none leaves while another needs it
    except tf.errors.OpError as error:
        if cluster.size == 1:
            raise
        raise distribution.lost(error) from error
    fit.bar.close()
    if not cluster.is_chief:
        return
    if max_steps and fit.step >= max_steps:
        print(f'{run_name} has its {max_steps} steps; to go on, raise --max_steps')
    print(
        'Try: python interactive_conditional_samples.py '
        f'--models_dir {run.path.parent} --model_name {run_name}'
    )


def check_flags(flags) -> None:
    """Raise UserError for the first flag that is out of its range."""
    if flags.optimizer not in ('adam', 'sgd'):
        raise UserError(f'--optimizer is adam or sgd, not {flags.optimizer}')
    check_precision(flags.precision)
    lowest = {'context_length': 2}
    for name in ('batch_size', 'accumulate_gradients', 'sample_length', 'sample_num', 'max_steps'):
        lowest[name] = 1
    for name in ('val_batch_size', 'val_batch_count', 'keep_checkpoints'):
        lowest[name] = 1
    for name, value in vars(flags).items():
        if isinstance(value, int | float) and not lowest.get(name, 0) <= value < math.inf:
            raise UserError(f'--{name} is a number from {lowest.get(name, 0)} up, not {value}')
    for name in ('noise', 'dropout', 'top_p'):
        if getattr(flags, name) > 1:
            raise UserError(f'--{name} is a share from 0 to 1, not {getattr(flags, name)}')
    if flags.dropout == 1:
        raise UserError('--dropout 1 leaves nothing; set it below 1')
    if flags.seed is not None and flags.seed >= 2**63:
        raise UserError(f'--seed is below 2**63, not {flags.seed}')


class Fit:
    """A run: the model, where its training stands, and what it writes."""

    def __init__(self, flags, cluster: Cluster, run: RunFolder, start: Start, enc, *samplers):
        import tensorflow as tf

        from gpt2 import checkpoint, model
        from gpt2.training import distribution
        from gpt2.training import trainer as training

        self.flags, self.run, self.enc, self.is_chief = flags, run, enc, cluster.is_chief
        self.sampler, self.val_sampler = samplers
        facts = start.facts or {'step': 0, 'average': [0.0, 0.0], 'best': None, 'seed': flags.seed}
        self.average, self.best = facts['average'], facts['best']
        self.strategy = distribution.get_strategy(cluster)
        resumes = self.agree(cluster, start, facts)
        if start.prefix:
            print(f'Loading checkpoint {start.prefix}')
            params = checkpoint.load_params(start.prefix, self.hparams)
        else:
            params = model.init_params(self.hparams, self.seed)
        params = distribution.mirror(self.strategy, params)
        with self.strategy.scope():
            self.trainer = training.Trainer(
                params,
                self.hparams,
                seed=self.seed,
                optimizer=flags.optimizer,
                weight_decay=flags.weight_decay,
                clip_norm=flags.clip_norm,
                dropout=flags.dropout,
                memory_saving_gradients=flags.memory_saving_gradients,
                only_train_transformer_layers=flags.only_train_transformer_layers,
                precision=flags.precision,
            )
        self.params = self.trainer.local
        if resumes:
            self.trainer.restore(start.state)
        if start.facts:
            print(f'Going on with {run.path} after step {self.step}, with its own model and seed')
        elif self.is_chief:
            run.begin(start.folder, self.hparams)
        self.saved = self.step
        self.began = time.time()
        self.events = None
        if self.is_chief and importlib.util.find_spec('tensorboard'):
            self.events = tf.summary.create_file_writer(str(run.path))
        self.bar = tqdm(
            total=flags.max_steps,
            initial=self.step,
            unit=' steps',
            disable=None if self.is_chief else True,
            dynamic_ncols=True,
        )

    def agree(self, cluster: Cluster, start: Start, facts: dict) -> bool:
        """Take from the chief where the run stands, and from all how long a window can be.

        Returns whether the run has an optimizer's state to go on with.
        """
        from gpt2.training import distribution

        own = ('dataset', 'val_dataset', 'models_dir')  # may differ from machine to machine
        shared = {name: value for name, value in vars(self.flags).items() if name not in own}
        seed = secrets.randbits(31) if facts['seed'] is None else facts['seed']
        shape = dataclasses.astuple(start.hparams or HParams())
        said = (zlib.crc32(repr(shared).encode()), facts['step'], seed, start.facts is not None)
        row = [cluster.index, *said, self.sampler.longest, *shape]
        rows = sorted(distribution.gather(self.strategy, row))
        _, flags, self.step, self.seed, resumes, _, *shape = rows[0]
        if any(row[1] != flags for row in rows):
            raise UserError('the workers have different flags; start all with the same command')
        self.hparams = HParams(*shape)
        longest, length = min(row[5] for row in rows), self.flags.context_length or shape[1]
        self.length = min(longest, length)
        if longest < length and self.is_chief:
            print(
                f'the longest chunk has {longest} tokens: the windows have as many, not {length}',
                file=sys.stderr,
            )
        return bool(resumes)

    def loop(self, interrupts: cli.Interrupts) -> None:
        """Train until --max_steps or an interrupt."""
        flags = self.flags
        schedule = (flags.warmup_steps, flags.decay_steps, flags.min_learning_rate)
        for inputs, targets in self.batches():
            began = time.time()
            with interrupts:
                rate = learning_rate_at(self.step, flags.learning_rate, *schedule)
                loss, norm, stop = self.trainer.step(
                    inputs, targets, rate, self.step, interrupts.asked
                )
                self.step += 1
                self.check('loss', loss)
                self.check('norm of the gradient', norm)
                self.average = [0.99 * self.average[0] + loss, 0.99 * self.average[1] + 1]
            took = time.time() - began + self.waited
            self.report(
                loss=loss,
                gradient_norm=norm,
                learning_rate=rate,
                tokens_per_second=targets.size / took,
                input_share=self.waited / took,  # of the time, spent waiting for the batch
            )
            if self.is_chief and self.is_time(flags.val_every):
                self.validate()
            if self.is_chief and self.is_time(flags.sample_every):
                self.write_samples()
            if self.is_time(flags.save_every):
                with interrupts:
                    self.save()
            if stop:
                return

    def is_time(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def batches(self):
        """The batches of the steps that are left; the next is drawn while one is computed."""
        flags = self.flags
        shape = [flags.accumulate_gradients, flags.batch_size * self.trainer.replicas]
        drawn = batches(
            *(self.sampler, self.hparams.n_vocab, self.seed, self.step),
            *(shape, self.length, flags.noise),
        )
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(next, drawn)
            while not flags.max_steps or self.step < flags.max_steps:
                began = time.time()
                batch = coming.result()
                self.waited = time.time() - began
                coming = pool.submit(next, drawn)
                yield batch

    def check(self, what: str, figure: float) -> None:
        """Stop, and save nothing, where a figure is none."""
        if not math.isfinite(figure):
            raise UserError(
                f'the {what} is {figure} at step {self.step}, and nothing was saved since step '
                f'{self.saved}; try a lower --learning_rate, or --clip_norm 1'
            )

    def say(self, text: str) -> None:
        if self.is_chief:
            self.bar.write(f'[{self.step} | {time.time() - self.began:.2f}] {text}')

    def report(self, **figures) -> None:
        """A line for the step, or its place in the bar; and its events."""
        average = self.average[0] / self.average[1]
        text = f'loss={figures["loss"]:.2f} avg={average:.2f}'
        if self.bar.disable:
            self.say(text)
        else:
            self.bar.set_postfix_str(f'{text} {figures["tokens_per_second"]:.0f} tokens/s')
            self.bar.update()
        self.write_events(**figures)

    def write_events(self, **figures) -> None:
        """For TensorBoard, where it is installed: numbers, or a list of texts."""
        import tensorflow as tf

        if self.events:
            with self.events.as_default(self.step):
                for name, figure in figures.items():
                    write = tf.summary.text if isinstance(figure, list) else tf.summary.scalar
                    write(name, figure)

    def validate(self) -> None:
        """The loss and perplexity on the same windows each time; the best model is kept."""
        import tensorflow as tf

        flags = self.flags
        shape = [1, flags.val_batch_size]
        length = min(flags.context_length or self.hparams.n_ctx, self.val_sampler.longest)
        drawn = batches(self.val_sampler, self.hparams.n_vocab, 1, 0, shape, length)
        losses = [
            float(self.trainer.loss(tf.constant(tokens[0])))
            for tokens, _ in tqdm(
                itertools.islice(drawn, flags.val_batch_count),
                'Validating',
                total=flags.val_batch_count,
                leave=False,
                disable=None,
            )
        ]
        loss = sum(losses) / len(losses)
        perplexity = math.exp(min(loss, 700))
        self.say(f'validation loss = {loss:.4f} perplexity = {perplexity:.2f}')
        self.write_events(validation_loss=loss, perplexity=perplexity)
        if math.isfinite(loss) and (self.best is None or loss < self.best):
            self.best = loss
            self.run.save_best(self.step, self.params)

    def write_samples(self) -> None:
        """Continue tokens of the dataset, on the terminal and to samples/<run>/samples-<step>."""
        from gpt2 import sample

        flags, texts = self.flags, []
        for number in range(flags.sample_num):
            random = np.random.default_rng([self.seed, self.step, number])
            context = self.sampler.sample(1, random)
            ids = sample.sample_sequence(
                self.params,
                hparams=self.hparams,
                length=min(flags.sample_length, self.hparams.n_ctx),
                context=context,
                top_k=0 if flags.top_p else flags.top_k,
                top_p=flags.top_p or 1,
                seed=self.seed + self.step,
                first_sample=number,
            )
            texts.append(self.enc.decode(ids[0].numpy()))
            self.say(f'\n======== SAMPLE {number + 1} ========\n{texts[-1]}\n')
        folder = Path('samples') / self.run.path.name
        folder.mkdir(parents=True, exist_ok=True)
        framed = [f'======== SAMPLE {i + 1} ========\n{text}\n' for i, text in enumerate(texts)]
        (folder / f'samples-{self.step}').write_text('\n'.join(framed), encoding='utf-8')
        self.write_events(samples=texts)

    def save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        import tensorflow as tf

        if self.saved == self.step:
            return
        norm = tf.linalg.global_norm(tf.nest.flatten(self.params))
        self.check('norm of the parameters', float(norm))
        self.saved = self.step
        if not self.is_chief:
            return
        self.say(f'Saving {self.run.path}/model-{self.step}')
        facts = {'step': self.step, 'average': self.average, 'best': self.best, 'seed': self.seed}
        facts['flags'] = vars(self.flags)
        self.run.save(
            self.step, self.params, self.trainer.state(), facts, self.flags.keep_checkpoints
        )
        if self.events:
            self.events.flush()


if __name__ == '__main__':
    cli.run(train)
