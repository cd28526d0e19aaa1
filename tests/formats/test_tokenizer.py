"""Models whose vocabulary is a tokenizer.json, as KoGPT-2's is, in all that works with a model."""

import json
import unicodedata

import numpy as np
import pytest
import tokenizers
from korean import sentences, tokenizer
from safetensors.numpy import save_file

import gpt2
from gpt2.encoder import get_encoder, read_encoder
from gpt2.errors import UserError
from gpt2.formats.huggingface import from_huggingface, to_huggingface
from gpt2.formats.tokenizer import Tokenizer
from gpt2.special_tokens import extended, specials, vocabulary_files
from gpt2.stops import Text
from gpt2.template import Template
from gpt2.training.run_folder import RunFolder
from gpt2.training.start import find_start

SIZES = {'n_positions': 64, 'n_embd': 32, 'n_head': 2, 'n_layer': 1}


@pytest.fixture(scope='module')
def library():
    return tokenizer()


@pytest.fixture(scope='module')
def models(tmp_path_factory, library):
    """A folder with the model `ko`, random, and the Hugging Face folder `hf` that it came from."""
    folder = tmp_path_factory.mktemp('models')
    write_hf(folder / 'hf', library)
    from_huggingface(folder / 'hf', folder / 'ko')
    return folder


def write_hf(folder, library, n_vocab=None, special=None):
    folder.mkdir()
    n_vocab = n_vocab or library.get_vocab_size()
    config = {'model_type': 'gpt2', 'vocab_size': n_vocab} | SIZES
    (folder / 'config.json').write_text(json.dumps(config))
    library.save(str(folder / 'tokenizer.json'))
    if special:
        (folder / 'special_tokens_map.json').write_text(json.dumps(special))
    random, n, wide = np.random.default_rng(0), SIZES['n_embd'], 4 * SIZES['n_embd']
    shapes = {'wte.weight': [n_vocab, n], 'wpe.weight': [64, n]}
    for name in ('h.0.ln_1', 'h.0.ln_2', 'ln_f'):
        shapes |= {f'{name}.weight': [n], f'{name}.bias': [n]}
    for name, before, after in (
        ('attn.c_attn', n, 3 * n),
        ('attn.c_proj', n, n),
        ('mlp.c_fc', n, wide),
        ('mlp.c_proj', wide, n),
    ):
        shapes |= {f'h.0.{name}.weight': [before, after], f'h.0.{name}.bias': [after]}
    tensors = {
        name: random.normal(size=shape, scale=0.3).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / 'model.safetensors')


@pytest.fixture(scope='module')
def enc(models):
    return get_encoder('ko', models)


# The encoder


def test_korean_sentences_are_as_the_library_has_them(library, enc):
    assert isinstance(enc, Tokenizer) and enc.end_of_text == library.token_to_id('</s>')
    texts = sentences(2000)
    expected = [found.ids for found in library.encode_batch(texts)]
    assert [enc.encode(text) for text in texts] == expected
    assert sum(map(len, expected)) < 0.5 * sum(map(len, texts))  # it has merges
    for text, ids in zip(texts, expected, strict=True):
        assert enc.decode(ids) == text == library.decode(ids)
        decode = enc.decode_in_pieces()
        pieces = [decode([i]) for i in ids] + [decode([], final=True)]
        assert ''.join(pieces) == text
        assert unicodedata.normalize('NFC', text) == text and '\ufffd' not in ''.join(pieces)


def test_letters_apart_become_syllables(enc):
    text = sentences(1)[0]
    apart = unicodedata.normalize('NFD', text)
    assert len(apart) > len(text) and enc.decode(enc.encode(apart)) == text


def test_what_continues_a_text_keeps_its_blank(library, enc):
    first, second = enc.encode('오늘은'), enc.encode('하늘이')
    assert enc.decode(second) == '하늘이' and enc.decode(first + second) == '오늘은 하늘이'
    assert enc.decode_in_pieces(first)(second, final=True) == ' 하늘이'
    text = Text(enc, context=first)
    text.add(second)
    assert text.finish() + text.text == ' 하늘이'
    assert b''.join(enc.decoder[i] for i in second) == ' 하늘이'.encode()
    assert len(enc.decoder) == library.get_vocab_size()


def test_text_is_a_special_token_where_the_original_says_so(library, enc):
    ids = enc.encode('네</s>그리고 <unused7>')
    assert ids == library.encode('네</s>그리고 <unused7>').ids
    assert enc.end_of_text in ids and library.token_to_id('<unused7>') in ids
    assert '</s>' in enc.decode(ids)


@pytest.mark.parametrize('kind', ['bytes', 'fallback'])
def test_no_half_syllable_is_ever_printed(kind):
    """Of tokens that are bytes; and of ids in any order."""
    if kind == 'bytes':
        library = tokenizers.Tokenizer(tokenizers.models.BPE())
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = tokenizers.decoders.ByteLevel()
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=300, initial_alphabet=alphabet, special_tokens=['</s>'], show_progress=False
        )
        library.train_from_iterator(sentences(50), trainer)
    else:
        tokens = ['</s>', '▁', '오', *(f'<0x{byte:02X}>' for byte in range(256))]
        vocab = {token: i for i, token in enumerate(tokens)}
        library = tokenizers.Tokenizer(
            tokenizers.models.BPE(vocab, [], byte_fallback=True, fuse_unk=True)
        )
        library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        library.decoder = tokenizers.decoders.Sequence(
            [
                tokenizers.decoders.ByteFallback(),
                tokenizers.decoders.Metaspace(),
                tokenizers.decoders.Fuse(),
            ]
        )
    enc = Tokenizer(library, '</s>')
    for text in sentences(30):
        ids, decode = enc.encode(text), enc.decode_in_pieces()
        pieces = [decode([i]) for i in ids]
        assert '\ufffd' not in ''.join(pieces) and max(map(len, pieces)) < 30
        assert ''.join(pieces) + decode([], final=True) == enc.decode(ids) == text
        half, decode = enc.encode('뷁')[:-1], enc.decode_in_pieces()
        assert decode(half) + decode([], final=True) == enc.decode(half)
        assert enc.decode(half)[-1] == '\ufffd'
        assert sum(len(enc.decoder[i]) for i in ids) == len(text.encode()) + (kind == 'fallback')


def test_ids_without_a_token_stand_for_nothing(library):
    enc = Tokenizer(library, '</s>', n_vocab=library.get_vocab_size() + 5)
    assert enc.decode([enc.n_vocab - 1]) == '' and enc.decoder[enc.n_vocab - 1] == b''
    for ids in ([-1], [enc.n_vocab], [2**40]):
        with pytest.raises(UserError, match='no token has the id .*: ids go from 0 to'):
            enc.decode(ids)
    for text in (5, b'a'):
        with pytest.raises(UserError, match='encode takes one text, a str'):
            enc.encode(text)
    with pytest.raises(UserError, match='the text holds a lone surrogate'):
        enc.encode('a\ud800')
    assert enc.decode(np.array(enc.encode('하늘'))) == '하늘' and enc.encode('') == []


# Files


def test_older_files_and_both_forms_of_merges(library, models, tmp_path):
    parts = json.loads(library.to_str())
    merges = parts['model']['merges']
    other = [' '.join(merge) if isinstance(merge, list) else merge.split(' ') for merge in merges]
    parts['model']['merges'] = other
    old = {'type': 'Metaspace', 'replacement': '▁', 'str_rep': '▁', 'add_prefix_space': True}
    parts['pre_tokenizer'] = parts['decoder'] = old
    (tmp_path / 'tokenizer.json').write_text(json.dumps(parts), 'utf-8')
    (tmp_path / 'special_tokens_map.json').write_text('{"eos_token": "</s>"}')
    text = sentences(1)[0]
    assert read_encoder(tmp_path).encode(text) == library.encode(text).ids
    assert (models / 'ko' / 'tokenizer.json').read_bytes() == (
        models / 'hf' / 'tokenizer.json'
    ).read_bytes()


@pytest.mark.parametrize(
    'special, expected',
    [
        ({'eos_token': '<pad>'}, '<pad>'),
        ({'eos_token': {'content': '<usr>', 'lstrip': False}, 'pad_token': '<pad>'}, '<usr>'),
        ({'eos_token': 'gone'}, '</s>'),
        (None, '</s>'),
    ],
)
def test_which_token_ends_a_text(library, tmp_path, special, expected):
    write_hf(tmp_path / 'hf', library, special=special)
    from_huggingface(tmp_path / 'hf', tmp_path / 'm')
    enc = read_encoder(tmp_path / 'm')
    assert enc.end_of_text == library.token_to_id(expected)


def test_broken_files(library, models, tmp_path):
    last = library.get_vocab_size() - 1
    with pytest.raises(UserError, match=f'has the id {last}, and the model {last} tokens'):
        read_encoder(models / 'ko', last)
    (tmp_path / 'special_tokens_map.json').write_text('{}')
    for content, sentence in (
        ('{', 'tokenizer.json holds no vocabulary'),
        (library.to_str(), "special_tokens_map.json holds no vocabulary: it has no token ''"),
    ):
        (tmp_path / 'tokenizer.json').write_text(content, 'utf-8')
        with pytest.raises(UserError, match=sentence):
            read_encoder(tmp_path)


def test_transformers_opens_what_was_written(models, enc, tmp_path):
    torch = pytest.importorskip('torch', reason='torch is not installed: pip install torch')
    transformers = pytest.importorskip('transformers', reason='pip install transformers')
    to_huggingface(gpt2.find('ko', models), tmp_path / 'hf')
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'hf')
    text = sentences(1)[0]
    ids = tokenizer(text)['input_ids']
    assert ids == enc.encode(text) and tokenizer.eos_token_id == enc.end_of_text
    assert tokenizer.decode(ids) == text
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / 'hf', attn_implementation='eager'
    )
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    found = gpt2.load('ko', models).logits(text)
    assert np.abs(found - expected).max() < 1e-3
    assert transformers.AutoConfig.from_pretrained(tmp_path / 'hf').eos_token_id == enc.end_of_text


# In all that works with a model


def test_in_the_samplers(run, models, enc):
    place = ['--models_dir', models, '--model_name', 'ko', '--length', '20', '--seed', '1']
    done = run('interactive_conditional_samples.py', *place, input='오늘 날씨가\n')
    assert (done.returncode, done.stderr) == (0, '') and '\ufffd' not in done.stdout
    model = gpt2.load('ko', models)
    text = model.generate('오늘 날씨가', length=20, seed=1)
    assert text in done.stdout
    ids = enc.encode('오늘 날씨가')
    [drawn] = gpt2.sample.sample_sequence(
        model.params, hparams=model.hparams, length=20, context=[ids], seed=1
    ).numpy()
    assert enc.decode(drawn) == '오늘 날씨가' + text
    tokens = model.log_probs('오늘 날씨가 좋다')
    assert ''.join(token for token, _ in tokens).endswith(' 좋다')


def test_encoding_training_and_evaluation(run, models, enc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.txt').write_text('\n'.join(sentences(200)), 'utf-8')
    place = ['--models_dir', models, '--model_name', 'ko']
    done = run('encode.py', 'a.txt', 'a.npz', *place, '--workers', '1')
    assert (done.returncode, done.stderr) == (0, '')
    from gpt2.data.load_dataset import load_dataset

    [chunk] = load_dataset(enc, tmp_path / 'a.npz')
    assert chunk[:].tolist() == enc.encode('\n'.join(sentences(200)))
    flags = ['--max_steps', '1', '--batch_size', '1', '--run_name', 'r', '--sample_every', '0']
    done = run('train.py', '--dataset', 'a.npz', *place, *flags)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / 'checkpoint' / 'r'
    for name in ('tokenizer.json', 'special_tokens_map.json'):
        expected = (models / 'ko' / name).read_bytes()
        assert (folder / name).read_bytes() == (folder / 'best' / name).read_bytes() == expected
    assert find_start(RunFolder('r'), 'latest', 'gone', 'nowhere', {}).facts['step'] == 1
    done = run('evaluate.py', 'perplexity', 'a.txt', '--model_name', 'checkpoint/r')
    assert (done.returncode, done.stderr) == (0, '')
    size = (tmp_path / 'a.txt').stat().st_size
    assert f'\nbytes               {size:,}\n' in done.stdout


def test_a_long_text_is_encoded_whole(enc, monkeypatch):
    """Cut before its comma, it would get a blank there."""
    from gpt2.data import encode_dataset

    monkeypatch.setattr(encode_dataset, 'LETTERS_PER_PIECE', 8)
    text = '오늘은,하늘이,바다가\n사람이 웃었다.'
    assert encode_dataset.encode_text(enc, text).tolist() == enc.encode(text)


def test_grows_by_special_tokens(library):
    size = library.get_vocab_size()
    before = Tokenizer(library, '</s>', size + 10)  # a model may have more than there are tokens
    enc = extended(before, ['<unused0>', '</s>', '<gen>'])
    words = [before.encode(word) for word in ('날씨', '바다')]
    assert enc.encode('날씨<gen>바다</s>') == [*words[0], size, *words[1], before.end_of_text]
    assert enc.n_vocab == size + 10 and specials(enc)['<|endoftext|>'] == before.end_of_text
    assert library.token_to_id('<gen>') is None  # the first one stays as it is
    assert len(extended(before, [f'<new{i}>' for i in range(20)]).decoder) == size + 20
    [(name, content)] = vocabulary_files(enc).items()
    assert name == 'tokenizer.json' and '<gen>' in json.loads(content)['added_tokens'][-1].values()
    template = Template('{a}<gen>{b}</s>', enc, ['b'])
    row = template.encode({'a': '날씨', 'b': '바다'})
    assert row.ids.tolist() == enc.encode('날씨<gen>바다</s>')
    assert row.ids[row.counts].tolist() == [*words[1], before.end_of_text]
