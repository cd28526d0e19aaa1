"""ROUGE of the first three sentences of a summary."""

import re

from rouge_score.rouge_scorer import RougeScorer

KINDS = ['rouge1', 'rouge2', 'rougeLsum']


def first_sentences(text: str, number: int = 3) -> str:
    """'A cat. A dog! Why? Well.' -> the first `number`, a line each."""
    return '\n'.join(re.split(r'(?<=[.!?])\s+', text.strip())[:number])


def rouge(row, results: list[str]) -> dict[str, float]:
    """F1 in percent, of what was generated against the article's highlights, a line each."""
    scores = RougeScorer(KINDS, use_stemmer=True).score(
        row['highlights'], first_sentences(results[0])
    )
    return {kind: 100 * score.fmeasure for kind, score in scores.items()}
