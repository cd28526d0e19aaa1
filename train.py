#!/usr/bin/env python3
"""Fine-tunes a model on a text, or trains one from scratch."""

import functools
from types import SimpleNamespace

from gpt2 import cli, runtime
from gpt2.options import with_help
from gpt2.training.commands import last_lines
from gpt2.training.dry_run import what_it_takes
from gpt2.training.flags import tells_given
from gpt2.training.prepare import prepare


@with_help
@tells_given
def train(
    dataset: str | None = None,
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
    log_every: int = 1,
    shape: str | None = None,
    attention: str | None = None,
    window: int | None = None,
    beta1: float = 0.9,
    beta2: float = 0.999,
    dry_run: bool = False,
    template: str | None = None,
    loss_on: str | None = None,
    special_tokens: str | None = None,
    cut: str = 'left',
    *,
    given=frozenset(),
):
    """
    Fine-tune GPT-2 on your custom dataset

    Ctrl-C, SIGTERM or a closed terminal saves and stops. python train.py --run_name RUN goes on
    from there, with the run's own model, seed, dataset and other flags, but for those that are
    given; it says which of them differ.

    Data:
    :dataset=None : Input file, folder or pattern (utf-8 text, or .npz files that encode.py made);
     if None (default), that of the run that goes on
    :combine=50000 : Put texts shorter than so many letters together in one chunk
    :encoding=utf-8 : Of text files
    :column=None : Which column of a .csv or .jsonl dataset is the text
    :noise=0.0 : Share of input tokens replaced at random, to regularize against typos
    :context_length=None : Tokens in a training window, if None (default), n_ctx

    Rows:
    :template=None : What becomes of each row of a .csv or .jsonl dataset, with its fields in
     braces: '{question}<answer>{answer}</s>'; a row is a window
    :loss_on=None : Fields to learn, as in one,two, each with the token or the text that ends it;
     if None (default), all that is in the template
    :special_tokens=None : Words of the template that are to be tokens, as in '<answer>,</s>'; the
     model gets those that it lacks
    :cut=left : Which side, left or right, a row loses that is longer than a window

    Model:
    :model_name=117M : Pretrained model name
    :models_dir=models : Path to the parent folder of the model folders
    :restore_from=latest : latest (of this run, else the model), fresh (the model, whatever the
     run has), scratch (random parameters), or a checkpoint, by its folder or its prefix
    :shape=None : With --restore_from scratch, gpt3-125m, gpt3-350m, gpt3-760m, gpt3-1.3b,
     gpt3-2.7b, gpt3-6.7b, gpt3-13b or gpt3-175b: of the flags below those that are left out, as
     GPT-3's paper has them
    :n_layer=None : With --restore_from scratch, the number of blocks, if None (default), that in
     the model's hparams.json
    :n_head=None : With --restore_from scratch, the number of attention heads, if None (default),
     that in the model's hparams.json
    :n_embd=None : With --restore_from scratch, the width of the embeddings, if None (default),
     that in the model's hparams.json
    :n_ctx=None : With --restore_from scratch, the longest context, if None (default), that in the
     model's hparams.json
    :attention=None : With --restore_from scratch, dense and banded, repeated over the blocks, as
     dense,banded; if None (default), that in the model's hparams.json, or dense
    :window=None : At how many positions a token of a banded block looks, its own the last
    :precision=float32 : float32, bfloat16 or float16: what to compute in; the weights and the
     optimizer's state stay float32
    :memory_saving_gradients=False : Compute what is inside a block anew for its gradients
    :dropout=0.0 : Share of activations and attention weights dropped

    Optimizer:
    :batch_size=1 : Batch size
    :accumulate_gradients=1 : Average the gradients of so many batches for one step
    :learning_rate=0.00002 : Learning rate
    :warmup_steps=0 : Raise the learning rate linearly over the first so many steps
    :decay_steps=0 : Lower the learning rate along a cosine until this step, 0 never
    :min_learning_rate=0.0 : Where the cosine of --decay_steps ends
    :optimizer=adam : adam or sgd
    :beta1=0.9 : How much of its mean gradient Adam keeps in a step
    :beta2=0.999 : How much of its mean squared gradient Adam keeps in a step
    :weight_decay=0.0 : Of matrices, decoupled (AdamW)
    :clip_norm=None : Largest norm of the gradient
    :only_train_transformer_layers=False : Leave the embeddings and the last norm as they are
    :max_steps=None : Stop when the run has so many steps in all
    :seed=None : Integer that fixes the batches, the noise, the dropout and the samples
    :dry_run=False : Tell the shapes, the memory and the tokens per step, and train nothing

    Saving:
    :run_name=run1 : The run's folder in checkpoint and samples
    :save_every=1000 : Write a checkpoint every so many steps, 0 only at the end
    :keep_checkpoints=5 : How many of the run's checkpoints to keep; the disk needs room for two
     at least, while one is written
    :log_every=1 : Where there is no terminal, tell the loss every so many steps, 0 never

    Samples:
    :sample_every=100 : Write samples every so many steps, 0 never
    :sample_length=1023 : Tokens in a sample, as far as the context has room
    :sample_num=1 : How many samples
    :top_k=40 : For the samples: among how many tokens to draw
    :top_p=0.0 : For the samples: nucleus sampling, overrides top_k if above 0 (0 is off)

    Validation:
    :val_dataset=None : For the validation loss; if None (default), the dataset
    :val_batch_size=2 : Batch size for validation
    :val_batch_count=40 : Batches for validation
    :val_every=0 : Compute the validation loss every so many steps, 0 never
    """
    flags = SimpleNamespace(**locals())
    del flags.given
    say = functools.partial(print, flush=True)
    if dry_run:
        for line in what_it_takes(flags, given):
            say(line)
        return
    job = prepare(flags, say, given)
    runtime.start(job.flags.precision, training=True)
    from gpt2.training import loop

    step = loop.train(job, say)
    if job.cluster.is_chief:
        for line in last_lines(job, step):
            say(line)


if __name__ == '__main__':
    cli.run(train)
