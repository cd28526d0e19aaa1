"""More special tokens; and in Transformers. Of a Tokenizer: formats/test_tokenizer.py"""

import numpy as np
import pytest

import gpt2
from conftest import ROOT, write_model
from gpt2.encoder import read_encoder
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.special_tokens import extended, specials, spelt, vocabulary_files

DEMO = read_encoder(ROOT / 'models' / 'demo')
NEW = ['<question>', '</s>', '<|start|>', '<질문>', '<a b>']


def put(folder, enc, source):
    """A vocabulary as it stands in a run's folder."""
    for name in ('encoder.json', 'vocab.bpe'):
        (folder / name).write_bytes((source / name).read_bytes())
    for name, content in vocabulary_files(enc).items():
        (folder / name).write_bytes(content)


def test_a_vocabulary_grows_once(tmp_path):
    assert specials(DEMO) == {'<|endoftext|>': 1023}
    enc = extended(DEMO, [*NEW, '</s>'])
    numbers = {token: 1024 + i for i, token in enumerate(NEW)}
    assert specials(enc) == {'<|endoftext|>': 1023} | numbers
    assert extended(enc, NEW) is enc and extended(DEMO, ['<|endoftext|>']) is DEMO
    assert enc.decode([1027, 1025, 1028]) == '<질문></s><a b>' and spelt('é') == 'Ã©'
    for text in ('Good night</s>', '<question>?', '<질문> <a b>'):
        assert enc.encode(text) == DEMO.encode(text)  # is text
    put(tmp_path, enc, ROOT / 'models' / 'demo')
    assert read_encoder(tmp_path, 1029).encoder == enc.encoder


def test_openais_vocabulary_grows_too(vocab_dir, tmp_path):
    enc = extended(read_encoder(vocab_dir), NEW)
    put(tmp_path, enc, vocab_dir)
    enc = read_encoder(tmp_path, 50262)
    assert enc.encode('Hello world') == [15496, 995] and specials(enc)['<question>'] == 50257


@pytest.mark.parametrize('token', ['question', '<question', ' <question>', '<>', '', '</s> '])
def test_what_text_could_become(token):
    with pytest.raises(UserError, match='^a special token is a word between signs, as <answer>, '):
        extended(DEMO, [token])


def test_in_transformers(run, tmp_path):
    """Of a run's folder, and back, bit for bit."""
    enc = extended(DEMO, NEW)
    folder = tmp_path / 'models' / 'grown'
    write_model(folder, HParams(n_vocab=1029, n_ctx=32, n_embd=16, n_head=2, n_layer=1))
    put(folder, enc, ROOT / 'models' / 'demo')
    for argv in (('to_huggingface', 'grown', 'hf'), ('from_huggingface', 'hf', 'back')):
        done = run('convert.py', *argv)
        assert (done.returncode, done.stderr) == (0, ''), done.stderr
    assert read_encoder(tmp_path / 'models' / 'back').encoder == enc.encoder
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    transformers = pytest.importorskip('transformers', reason='Transformers is not installed')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / 'hf')
    ids = theirs('Good night<질문>day</s><a b>').input_ids
    assert ids == [*enc.encode('Good night'), 1027, *enc.encode('day'), 1025, 1028]
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'hf').eval()
    with torch.no_grad():
        expected = peer(torch.tensor([ids])).logits.numpy()[0]
    found = gpt2.load('grown', tmp_path / 'models').logits(ids)
    np.testing.assert_allclose(found, expected, atol=1e-5)
