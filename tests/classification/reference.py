"""The joint loss once more, in NumPy and float64, a row at a time: for finite differences."""

import numpy as np


def norm(x, scope):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5) * scope['g'] + scope['b']


def linear(x, scope):
    return x @ scope['w'][0] + scope['b']


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def attention(x, scope, n_head):
    n, width = x.shape
    q, k, v = (
        y.reshape(n, n_head, -1).swapaxes(0, 1) for y in np.split(linear(x, scope['c_attn']), 3, 1)
    )
    w = q @ k.swapaxes(1, 2) / np.sqrt(width / n_head)
    w = np.exp(log_softmax(np.where(np.tri(n, dtype=bool), w, -np.inf)))
    return linear((w @ v).swapaxes(0, 1).reshape(n, width), scope['c_proj'])


def mlp(x, scope):
    x = linear(x, scope['c_fc'])
    x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return linear(x, scope['c_proj'])


def states(params, hparams, ids):
    """[n, n_embd] of a row of ids, without padding."""
    x = params['wte'][ids] + params['wpe'][: len(ids)]
    for layer in range(hparams.n_layer):
        scope = params[f'h{layer}']
        x = x + attention(norm(x, scope['ln_1']), scope['attn'], hparams.n_head)
        x = x + mlp(norm(x, scope['ln_2']), scope['mlp'])
    return norm(x, params['ln_f'])


def task_loss(params, task_states, example, kind, log_probs):
    """Of one row."""
    if kind == 'cloze':
        parts = zip(log_probs, example.inputs, example.blanks, strict=True)
        figures = np.array(
            [
                np.mean([row[len(ids) - 2 - i, ids[len(ids) - 1 - i]] for i in range(blank)])
                for row, ids, blank in parts
            ]
        )
        return -log_softmax(figures)[example.label]
    h = np.array([x[-1] for x in task_states])
    if kind != 'multiple_choice':
        h = h.sum(axis=0)
    figures = h @ params['head']['w'] + params['head'].get('b', 0)
    if kind == 'regression':
        return (figures[0] - example.label) ** 2
    return -log_softmax(figures[:, 0] if kind == 'multiple_choice' else figures)[example.label]


def joint_loss(params, hparams, examples, kind, lm_weight):
    """params: a nested dict of float64 arrays."""
    task, language = [], []
    for example in examples:
        found = [states(params, hparams, np.array(ids)) for ids in example.inputs]
        log_probs = [log_softmax(h @ params['wte'].T) for h in found]
        task.append(task_loss(params, found, example, kind, log_probs))
        for i, (row, ids) in enumerate(zip(log_probs, example.inputs, strict=True)):
            if kind != 'cloze' or i == example.label:
                language.append(-np.mean(row[np.arange(len(ids) - 1), ids[1:]]))
    return np.mean(task) + lm_weight * np.mean(language)
