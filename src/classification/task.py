"""A task: what is asked of each row, and task.json, which remembers it. No TensorFlow."""

import dataclasses
import json
import typing
from pathlib import Path

from ..errors import UserError, what_mends
from ..model_folder import parse_object
from ..training.run_folder import TASK

# Tokens around the texts of a row, which a model that learns a task knows beside its own.
START, DELIMITER, EXTRACT = TOKENS = ('<|start|>', '<|delimiter|>', '<|extract|>')
# What a kind of task is: its row, and the answer to it.
KINDS = {
    'classification': 'a text, and one of several labels',
    'pair': 'two texts in this order, and one of several labels',
    'similarity': 'two texts in any order, and one of several labels',
    'multiple_choice': 'a text, several that may follow it, and which of them does',
    'regression': 'a text, or two in any order, and a number',
    'cloze': 'a text in patterns that end in a blank, and the label whose word fills it',
}
CHOSEN = ('classification', 'pair', 'similarity', 'cloze')  # those with labels


@dataclasses.dataclass(frozen=True)
class Task:
    """A kind of task, the columns of its rows, and the labels that there are."""

    kind: str
    text: str = 'text'  # a column, or several that are joined by blanks: 'one,two'
    second: str = 'second'
    choices: str = 'choices'  # a column with a list, or several columns
    label: str = 'label'
    labels: tuple[str, ...] = ()
    pairs: bool = False  # whether the rows of a regression have two texts
    patterns: tuple[str, ...] = ()  # of a cloze,
    verbalizers: tuple[str, ...] = ()  # what stands in the blank for each label,
    weights: tuple[float, ...] = ()  # and how much each pattern's answer counts

    @property
    def outputs(self) -> int:
        """How many figures the head has for a row's input."""
        return len(self.labels) if self.kind in CHOSEN else 1

    @property
    def figures(self) -> int:
        """The columns of what is computed for a row, where all rows have as many: else 0."""
        return 0 if self.kind == 'multiple_choice' else self.outputs

    def to_text(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + '\n'


def read_task(folder: Path) -> Task:
    """The task that a model in `folder` has learnt; UserError where it has learnt none."""
    path = folder / TASK
    if not path.exists():
        raise UserError(
            f'{folder} has learnt no task; run: python classify.py train --task FILE, and name '
            'its folder'
        )
    try:
        values = parse_object(path.read_bytes())
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        task = Task(**values)
        for field in dataclasses.fields(task):
            value = getattr(task, field.name)
            if not isinstance(value, typing.get_origin(field.type) or field.type):
                raise ValueError(f'its {field.name} cannot be {value!r:.40}')
        if task.kind not in KINDS or (task.kind in CHOSEN) != (len(task.labels) > 1):
            raise ValueError(f'no task is a {task.kind} of {len(task.labels)} labels')
        return task
    except (OSError, ValueError, TypeError) as error:
        mend = what_mends(error, 'put it back, or train again')
        raise UserError(f'{path} is damaged: {error}; {mend}') from error
