"""Large texts by tiktoken: the same ids as ours for any text, and ours where it would not be so."""

import importlib.util
import sys
import unicodedata

import pytest
from hypothesis import given
from test_encode_dataset import AWKWARD, MERGING

from gpt2.data import bulk
from gpt2.data.bulk import Bulk, for_bulk
from gpt2.data.encode_dataset import encode_text
from gpt2.encoder import Encoder, get_encoder
from gpt2.model_folder import CLONE

pytest.importorskip('tiktoken')
BULK = Bulk(MERGING)


@pytest.fixture
def released(vocab_dir):
    return get_encoder(vocab_dir.name, vocab_dir.parent)


@pytest.fixture
def demo():
    return get_encoder('demo', CLONE / 'models')


def others(first: int, last: int) -> str:
    """Characters, each among letters, digits, punctuation and blanks."""
    letters = (chr(n) for n in range(first, last) if not 0xD800 <= n < 0xE000)
    return ''.join(f'a{c}1{c}!{c} {c}{c}\n' for c in letters)


@given(AWKWARD)
def test_any_text(text):
    assert BULK.encode(text) == MERGING.encode(text)


def test_every_character():
    """Where the tables of both may differ, too: of this Python's the rest is known."""
    for first in range(0, 0x20000, 0x1000):
        text = others(first, first + 0x1000)
        assert BULK.encode(text) == MERGING.encode(text), hex(first)


def test_what_python_does_not_know_is_left_to_ours():
    newest = [n for n in range(0x10000) if unicodedata.category(chr(n)) == 'Cn']
    assert all(bulk.unknown().search(chr(n)) for n in newest)
    assert not bulk.unknown().search('Ünïcödé 漢字 한국어 \U0001f600\n\u3000')


def test_runs_of_one_character(released):
    """Of a word, a number or blanks, as long as what is encoded in one piece."""
    fast = Bulk(released)
    for letters in (' ', 'a', '1', '!', '\n', ' \n', '漢'):
        text = letters * (131_000 // len(letters))
        assert fast.encode(text + 'b') == released.encode(text + 'b'), letters


def test_books(released, demo):
    text = (CLONE / 'README.md').read_text('utf-8') + (CLONE / 'docs/history.md').read_text('utf-8')
    for enc in (released, demo):
        fast = for_bulk(enc)
        assert type(fast) is Bulk
        assert encode_text(fast, 3 * text).tolist() == encode_text(enc, 3 * text).tolist()


def test_a_vocabulary_that_tiktoken_would_read_otherwise(demo):
    """With a token that no merge makes, or with merges in another order than their ids."""
    more = Encoder(demo.encoder | {'[[[': len(demo.encoder)}, list(demo.bpe_ranks))
    assert more.encode('[[[') == [len(demo.encoder)]
    assert for_bulk(more) is more
    turned = Encoder(demo.encoder, list(reversed(demo.bpe_ranks)))
    assert for_bulk(turned) is turned


def test_first_letters_that_are_not_encoded_alike(monkeypatch):
    monkeypatch.setattr(type(BULK.encoding), 'encode_ordinary', lambda self, text: [0])
    assert BULK.encode("it's all") == MERGING.encode("it's all")


def test_half_a_pair_is_refused_as_ever():
    with pytest.raises(ValueError, match='lone surrogate'):
        BULK.encode('a' * 1000 + '\ud800')


def test_without_tiktoken(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setitem(sys.modules, 'tiktoken', None)
    assert for_bulk(MERGING) is MERGING
