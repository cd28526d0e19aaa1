"""The README.md of a model that is written for Hugging Face: a model card."""

from ..hparams import HParams

CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags:
- gpt2
---

# {name}

A GPT-2 of {parameters:,} parameters: {n_layer} blocks of {n_embd} features and {n_head} heads,
{n_ctx:,} positions, {n_vocab:,} tokens.

```python
from transformers import pipeline

print(pipeline('text-generation', model='.')('Once')[0]['generated_text'])
```

Say here what it was trained on and what for; its licence, as `license:` above, is that of the
model and of the text from which it was made.
"""


def card(name: str, hparams: HParams) -> str:
    return CARD.format(name=name, parameters=hparams.parameters, **vars(hparams))
