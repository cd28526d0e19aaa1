"""A head in Transformers' names: GPT2ForSequenceClassification and GPT2DoubleHeadsModel."""

import numpy as np

from ..errors import UserError
from .task import Task


def transformers_class(task: Task, head: dict) -> str:
    """The class that computes what a model with this head does; UserError where none does."""
    if task.kind == 'multiple_choice':
        return 'GPT2DoubleHeadsModel'
    if task.kind == 'cloze':
        return 'GPT2LMHeadModel'
    if task.kind == 'similarity' or task.pairs:
        raise UserError(
            'Transformers has no model that reads a pair in both orders; train with --kind pair'
        )
    if 'b' in head:
        raise UserError(
            "Transformers' GPT2ForSequenceClassification has no bias; train with --head_bias False"
        )
    return 'GPT2ForSequenceClassification'


def transformers_head(task: Task, head: dict) -> dict[str, np.ndarray]:
    """The head's weights: 'score.weight' [labels, n_embd], or those of a 'multiple_choice_head'.

    Raises UserError as transformers_class does.
    """
    name = transformers_class(task, head)
    if name == 'GPT2LMHeadModel':
        return {}
    w = np.ascontiguousarray(np.transpose(np.asarray(head['w'])))
    if name == 'GPT2ForSequenceClassification':
        return {'score.weight': w}
    b = np.asarray(head['b']) if 'b' in head else np.zeros([1], np.float32)
    place = 'multiple_choice_head.summary'
    return {f'{place}.weight': w, f'{place}.bias': b}


def transformers_config(task: Task, head: dict, pad_token_id: int) -> dict:
    """What config.json says of the head, beside the model's shape.

    pad_token_id: the end-of-text token; a sequence classifier reads the last token that is none.
    """
    name = transformers_class(task, head)
    config = {'architectures': [name], 'pad_token_id': pad_token_id}
    if name == 'GPT2LMHeadModel':
        return {'architectures': [name]}
    if name == 'GPT2DoubleHeadsModel':
        summary = {'type': 'cls_index', 'use_proj': True, 'proj_to_labels': True}
        summary |= {'activation': None, 'first_dropout': 0.1}
        return config | {f'summary_{key}': value for key, value in summary.items()}
    labels = task.labels or ('LABEL_0',)
    kind = 'regression' if task.kind == 'regression' else 'single_label_classification'
    return config | {
        'problem_type': kind,
        'id2label': {str(i): label for i, label in enumerate(labels)},
        'label2id': {label: i for i, label in enumerate(labels)},
    }
