#!/usr/bin/env python3
"""Fine-tunes a model on a text, or trains one from scratch."""

from types import SimpleNamespace

from gpt2 import cli, runtime
from gpt2.options import with_help
from gpt2.training.prepare import prepare


@with_help
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
    job = prepare(SimpleNamespace(**locals()), say=print)
    runtime.start(precision, training=True)
    from gpt2.training import loop

    step = loop.train(job, say=print)
    if not job.cluster.is_chief:
        return
    if max_steps and step >= max_steps:
        print(f'{run_name} has its {max_steps} steps; to go on, raise --max_steps')
    print(
        'Try: python interactive_conditional_samples.py '
        f'--models_dir {job.folder.path.parent} --model_name {run_name}'
    )


if __name__ == '__main__':
    cli.run(train)
