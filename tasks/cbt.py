"""Children's Book Test as the GPT-2 paper scores it: each word with the rest of its sentence."""

import re

GAP = 'XXXXX'
SPELLINGS = {'`` ': '"', " ''": '"', '` ': "'", '-LRB- ': '(', ' -RRB-': ')'}


def detokenize(text: str) -> str:
    """ "`` It is n't , '' he said ." -> '"It isn't," he said.'"""
    for theirs, ours in SPELLINGS.items():
        text = text.replace(theirs, ours)
    return re.sub(r" (?=[.,;:!?']|n't\b)", '', text)


def parts(row) -> list[str]:
    """What stands before the gap, with the twenty sentences, and what stands behind it."""
    return detokenize(' '.join([*row['sentences'], row['question']])).split(GAP, 1)


def context(row) -> str:
    return parts(row)[0].rstrip()


def choices(row) -> list[str]:
    return [option + parts(row)[1] for option in row['options']]


def answer(row) -> int:
    return row['options'].index(row['answer'])
