"""Hugging Face's folders, in and out: bit for bit, and as Transformers has them."""

import json
import shlex
import shutil
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

import gpt2
from conftest import DATA, ROOT, load_tiny, write_vocabulary
from gpt2 import checkpoint
from gpt2.errors import UserError
from gpt2.formats.huggingface import find_names, from_huggingface, to_huggingface
from gpt2.formats.tensors import Tensors
from gpt2.hparams import HParams
from gpt2.params import flatten, param_shapes

DEMO = ROOT / 'models' / 'demo'
SIZES = {'vocab_size': 512, 'n_positions': 64, 'n_embd': 48, 'n_head': 4, 'n_layer': 3}

SHAPES = param_shapes(HParams(n_vocab=512, n_ctx=64, n_embd=48, n_head=4, n_layer=3))


@pytest.fixture(scope='module')
def tensors():
    """OpenAI's random tiny model, biases too, under Hugging Face's names."""
    named = {}
    for name, value in flatten(load_tiny()[0]).items():
        scopes = name.replace('/w', '/weight').replace('/g', '/weight').replace('/b', '/bias')
        value = value.numpy()[0] if name.endswith('/w') else value.numpy()
        if '/' not in name:
            scopes += '/weight'
        elif name[0] == 'h':
            scopes = f'h/{scopes[1:]}'
        named[scopes.replace('/', '.')] = np.ascontiguousarray(value)
    return named


@pytest.fixture
def hf(tmp_path, tensors):
    """A Hugging Face folder of it, as Transformers would write one."""
    return write_folder(tmp_path / 'hf', tensors)


def write_folder(folder, tensors, **config):
    folder.mkdir()
    config = {'model_type': 'gpt2', 'activation_function': 'gelu_new'} | SIZES | config
    (folder / 'config.json').write_text(json.dumps(config))
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})
    write_vocabulary(folder, 512)
    (folder / 'encoder.json').rename(folder / 'vocab.json')
    (folder / 'vocab.bpe').rename(folder / 'merges.txt')
    return folder


def data_of(folder):
    """The parameters' bytes, in OpenAI's format."""
    return (folder / 'model.ckpt.data-00000-of-00001').read_bytes()


def all_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def imported(hf, to):
    from_huggingface(hf, to)
    return data_of(to)


OWN = (DATA / 'tiny-random' / 'model.ckpt.data-00000-of-00001').read_bytes()


# There and back


def test_of_the_demo_model_every_file_comes_back(run, tmp_path):
    done = run('convert.py', 'to_huggingface', 'demo', 'hf')
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    done = run('convert.py', 'from_huggingface', 'hf', 'back', '--models_dir', 'own')
    assert done.stdout.splitlines() == [
        'own/back: 6 files, 5.8 MB',
        'Try: python interactive_conditional_samples.py --model_name back --models_dir own',
    ]
    assert all_files(tmp_path / 'own' / 'back') == all_files(DEMO)


def test_tensors_of_another_writer_bit_for_bit(hf, tensors, tmp_path):
    assert imported(hf, tmp_path / 'm' / 'tiny') == OWN
    to_huggingface(gpt2.find('tiny', tmp_path / 'm'), tmp_path / 'out')
    found = load_file(tmp_path / 'out' / 'model.safetensors')
    assert found.keys() == {f'transformer.{name}' for name in tensors}
    assert all((found[f'transformer.{name}'] == value).all() for name, value in tensors.items())
    for name in ('vocab.json', 'merges.txt'):
        assert (tmp_path / 'out' / name).read_bytes() == (hf / name).read_bytes()
    config = json.loads((tmp_path / 'out' / 'config.json').read_text())
    assert SIZES.items() <= config.items() and config['eos_token_id'] == 511
    assert (tmp_path / 'out' / 'README.md').read_text().startswith('---\nlibrary_name: transf')


@pytest.mark.parametrize('form', ['prefix', 'head', 'buffers', 'shards', 'links', 'no version'])
def test_every_form_gives_the_same(hf, tensors, tmp_path, form):
    path = hf / 'model.safetensors'
    if form == 'prefix':
        save_file({f'transformer.{name}': value for name, value in tensors.items()}, path)
    if form == 'head':
        save_file(tensors | {'lm_head.weight': tensors['wte.weight']}, path)
    if form == 'buffers':
        mask = {'h.0.attn.bias': np.ones([1, 1, 64, 64], np.uint8)}
        save_file(tensors | mask | {'h.0.attn.masked_bias': np.float32([-1e4])}, path)
    if form == 'shards':
        write_shards(hf, tensors)
    if form == 'links':  # as in the cache of huggingface_hub
        (tmp_path / 'blobs').mkdir()
        for number, file in enumerate(list(hf.iterdir())):
            file.rename(tmp_path / 'blobs' / str(number))
            file.symlink_to(f'../blobs/{number}')
    if form == 'no version':
        merges = (hf / 'merges.txt').read_text().split('\n', 1)[1]
        (hf / 'merges.txt').write_text(merges.rstrip('\n').replace('\n', '\r\n'), newline='')
    assert imported(hf, tmp_path / 'm') == OWN
    write_vocabulary(tmp_path, 512)
    for name in ('encoder.json', 'vocab.bpe'):
        assert (tmp_path / 'm' / name).read_bytes() == (tmp_path / name).read_bytes()


def write_shards(hf, tensors):
    (hf / 'model.safetensors').unlink()
    names, parts = list(tensors), ['model-1-of-2.safetensors', 'model-2-of-2.safetensors']
    where = {name: parts[number % 2] for number, name in enumerate(names)}
    for part in parts:
        save_file({name: tensors[name] for name in names if where[name] == part}, hf / part)
    index = {'metadata': {}, 'weight_map': where}
    (hf / 'model.safetensors.index.json').write_text(json.dumps(index))


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16])
def test_lower_types_are_widened(hf, tensors, tmp_path, dtype):
    low = {name: value.astype(dtype) for name, value in tensors.items()}
    save_file(low, hf / 'model.safetensors')
    from_huggingface(hf, tmp_path / 'm')
    params = checkpoint.load_params(tmp_path / 'm', gpt2.find(str(tmp_path / 'm')).hparams)
    assert (params['wte'].numpy() == low['wte.weight'].astype(np.float32)).all()
    w = params['h2']['mlp']['c_fc']['w'].numpy()
    assert (w == low['h.2.mlp.c_fc.weight'].astype(np.float32)[None]).all()


def test_openais_vocabulary_is_byte_for_byte_openais(hf, vocab_dir, tmp_path):
    from gpt2.formats.vocabulary import read_vocabulary

    encoder = json.loads((vocab_dir / 'encoder.json').read_bytes())
    (hf / 'vocab.json').write_text(json.dumps(encoder, indent=1, ensure_ascii=False), 'utf-8')
    lines = (vocab_dir / 'vocab.bpe').read_text('utf-8').split('\n')[1:-1]
    (hf / 'merges.txt').write_text('\n'.join(lines), 'utf-8')
    for name, content in read_vocabulary(hf, {'vocab_size': 50257}).items():
        assert content == (vocab_dir / name).read_bytes()


# As Transformers has it


@pytest.fixture(scope='module')
def transformers():
    pytest.importorskip('torch', reason='torch is not installed: pip install torch')
    return pytest.importorskip('transformers', reason='pip install transformers')


def their_logits(transformers, folder, ids):
    import torch

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation='eager')
    with torch.no_grad():
        return model(torch.tensor(ids[None])).logits[0].numpy()


def test_transformers_opens_what_was_written(transformers, tmp_path):
    to_huggingface(gpt2.find('demo'), tmp_path / 'hf')
    model, text = gpt2.load('demo'), 'ROMEO:\nGood  night, naïve 日本!\n\nWho'
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'hf')
    ids = tokenizer(text)['input_ids']
    assert ids == model.enc.encode(text) and tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == model.enc.end_of_text
    ids = np.random.default_rng(0).integers(0, 1024, 256)
    expected = their_logits(transformers, tmp_path / 'hf', ids)
    assert np.abs(model.logits(ids) - expected).max() < 1e-3


def test_what_transformers_writes_comes_in(transformers, tmp_path):
    """A model of distilgpt2's six layers, and a tokenizer.json that is GPT-2's own."""
    import torch

    to_huggingface(gpt2.find('demo'), tmp_path / 'demo')
    torch.manual_seed(1)
    sizes = {'vocab_size': 1024, 'n_positions': 40, 'n_embd': 32, 'n_head': 2, 'n_layer': 6}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / 'hf')
    transformers.AutoTokenizer.from_pretrained(tmp_path / 'demo').save_pretrained(tmp_path / 'hf')
    assert (tmp_path / 'hf' / 'tokenizer.json').exists()
    from_huggingface(tmp_path / 'hf', tmp_path / 'm')
    for name in ('encoder.json', 'vocab.bpe'):
        assert (tmp_path / 'm' / name).read_bytes() == (DEMO / name).read_bytes()
    ids = np.random.default_rng(0).integers(0, 1024, 40)
    found = gpt2.load(str(tmp_path / 'm')).logits(ids)
    assert np.abs(found - their_logits(transformers, tmp_path / 'hf', ids)).max() < 1e-3


def test_what_was_fine_tuned_has_the_same_loss_there(run, transformers, hf, tmp_path):
    import torch

    (tmp_path / 'a.txt').write_text('To be, or not to be: that is the question. ' * 9)
    run('convert.py', 'from_huggingface', 'hf', 'tiny')
    flags = ['--model_name', 'tiny', '--max_steps', '4', '--batch_size', '1', '--run_name', 'r']
    done = run('train.py', '--dataset', 'a.txt', *flags, '--sample_every', '0')
    assert done.returncode == 0, done.stderr
    done = run('convert.py', 'to_huggingface', 'checkpoint/r', 'out')
    assert (done.returncode, done.stderr) == (0, '')
    model, before = (gpt2.load(str(tmp_path / name)) for name in ('checkpoint/r', 'models/tiny'))
    ids = model.enc.encode('To be, or not to be: that is')
    found, start = (-np.mean([p for _, p in m.log_probs(ids)]) for m in (model, before))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'out')
    with torch.no_grad():
        expected = theirs(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    assert abs(found - expected) < 1e-4 and found < start - 0.01


def test_the_gelu_of_cerebras(transformers, tensors, tmp_path):
    """Its numbers, there and back; GPT-2's own are others."""
    for name in ('gelu', 'gelu_new'):
        hf = write_folder(tmp_path / name, tensors, activation_function=name, n_inner=192)
        from_huggingface(hf, tmp_path / f'm-{name}')
    ids = np.random.default_rng(0).integers(0, 512, 64)
    expected = their_logits(transformers, tmp_path / 'gelu', ids)
    found, other = (
        gpt2.load(str(tmp_path / name)).logits(ids) for name in ('m-gelu', 'm-gelu_new')
    )
    assert np.abs(found - expected).max() < 2e-5 < 1e-4 < np.abs(other - expected).max()
    to_huggingface(gpt2.find(str(tmp_path / 'm-gelu')), tmp_path / 'out')
    assert (their_logits(transformers, tmp_path / 'out', ids) == expected).all()
    hparams = gpt2.find(str(tmp_path / 'm-gelu')).hparams
    assert gpt2.hparams.default_hparams().override_from_dict(hparams.to_dict()) == hparams
    plain = gpt2.find(str(tmp_path / 'm-gelu_new')).hparams
    assert plain != hparams and 'activation_function' not in plain.to_dict()


def test_the_command_that_makes_safetensors_of_a_pickle(transformers, hf, tensors, tmp_path):
    import torch

    (hf / 'model.safetensors').unlink()
    pickled = {name: torch.from_numpy(value) for name, value in tensors.items()}
    pickled['lm_head.weight'] = pickled['wte.weight']
    torch.save(pickled, hf / 'pytorch_model.bin')
    with pytest.raises(UserError, match='is a pickle, which may do anything to who') as caught:
        from_huggingface(hf, tmp_path / 'm')
    words = shlex.split(str(caught.value).partition('is installed: ')[2])
    assert words[0] == 'python'
    subprocess.run([sys.executable, *words[1:]], check=True)
    assert imported(hf, tmp_path / 'm') == OWN


# What is refused


@pytest.mark.parametrize(
    'field, value, sentence',
    [
        (
            'activation_function',
            'relu',
            "is wrong: activation_function is gelu_new or gelu, not 'relu'",
        ),
        ('n_inner', 100, r'has n_inner 100, and GPT-2 has 4 \* n_embd'),
        ('layer_norm_epsilon', 1e-6, 'has layer_norm_epsilon 1e-06, and GPT-2 has 1e-05'),
        ('scale_attn_weights', False, 'has scale_attn_weights false, and GPT-2 has true'),
        ('scale_attn_by_inverse_layer_idx', True, 'idx true, and GPT-2 has false'),
        ('add_cross_attention', True, 'has add_cross_attention true, and GPT-2 has false'),
        ('tie_word_embeddings', False, 'has tie_word_embeddings false, and GPT-2 has true'),
        ('model_type', 'llama', 'has model_type "llama", and GPT-2 has "gpt2"'),
        ('quantization_config', {'bits': 4}, 'has quantization_config {"bits": 4}, and GPT-2 has'),
        ('n_layer', -1, 'is wrong: n_layer must be a whole number above 0'),
        ('n_head', 5, 'is wrong: n_embd 48 does not divide into n_head 5'),
        ('n_embd', 10**7, 'is wrong: HParams.* no machine holds more'),
        ('n_positions', None, 'is wrong: n_ctx must be a whole number above 0.*not None'),
        ('n_layer', 4, 'has no tensor h.3.ln_1.weight, which config.json asks for'),
        ('n_layer', 2, 'has h.2.attn.c_attn.bias, which GPT-2 has not'),
        ('vocab_size', 513, r'wte.weight in the shape \[512, 48\], not the \[513, 48\]'),
    ],
)
def test_what_is_not_gpt2_is_named(tensors, tmp_path, field, value, sentence):
    hf = write_folder(tmp_path / 'hf', tensors, **{field: value})
    refuses(hf, sentence)


def test_n_inner_of_four_times_the_width_is_gpt2(tensors, tmp_path):
    hf = write_folder(tmp_path / 'hf', tensors, n_inner=192)
    assert imported(hf, tmp_path / 'm') == OWN


def refuses(hf, sentence):
    """Importing it is one sentence, and leaves nothing."""
    before = sorted(path.name for path in hf.parent.iterdir())
    with pytest.raises(UserError, match=sentence) as caught:
        from_huggingface(hf, hf.parent / 'm')
    assert '\n' not in str(caught.value) and '.m.part' not in str(caught.value)
    assert sorted(path.name for path in hf.parent.iterdir()) == before


def raw_file(header, data=b'', size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, 'little') + text + data


def entry(shape, start, end, dtype='F32'):
    return {'dtype': dtype, 'shape': shape, 'data_offsets': [start, end]}


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\1\0\0',
        raw_file({}, size=2**63),
        raw_file({}, size=100),
        raw_file(b'{"a": '),
        raw_file(b'[]'),
        raw_file(b'\xff' * 9),
        raw_file({'wte.weight': entry([2], 0, 8)}, b'1234'),
        raw_file({'wte.weight': entry([2], 0, 8)}, b'1' * 12),
        raw_file({'wte.weight': entry([3], 0, 8)}, b'1' * 8),
        raw_file({'wte.weight': entry([2], 8, 0)}, b'1' * 8),
        raw_file({'wte.weight': entry([-2], 0, 8)}, b'1' * 8),
        raw_file({'a': entry([2], 0, 8), 'b': entry([2], 4, 12)}, b'1' * 12),
        raw_file({'a': entry([1], 0, 4), 'b': entry([1], 8, 12)}, b'1' * 12),
        raw_file({'wte.weight': entry([2**20, 2**18], 0, 2**40)}, b'1' * 8),
        raw_file({'wte.weight': entry([2**40, 2**40], 0, 8)}, b'1' * 8),
        raw_file({'wte.weight': entry([2], 0, 8, 'F31')}, b'1' * 8),
        raw_file({'wte.weight': {'dtype': 'F32', 'shape': [2]}}, b'1' * 8),
    ],
)
def test_damaged_and_lying_headers(hf, content):
    (hf / 'model.safetensors').write_bytes(content)
    refuses(hf, 'model.safetensors is damaged: .*; fetch it anew')


@hypothesis.settings(
    max_examples=200, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(place=st.integers(0, 2000), byte=st.integers(0, 255))
def test_any_other_byte_in_a_header(hf, tensors, place, byte):
    """Is a sentence, or changes nothing that is read."""
    path = hf / 'model.safetensors'
    content = bytearray(save(tensors))
    content[place] = byte
    path.write_bytes(content)
    try:
        found = Tensors(hf)
        names = find_names(found, SHAPES, hf)
        assert all(found.read(theirs).shape == tensors[theirs].shape for theirs in names.values())
    except UserError as error:
        assert str(path.parent) in str(error)


def test_a_file_that_was_cut(hf):
    whole = (hf / 'model.safetensors').read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 100):
        (hf / 'model.safetensors').write_bytes(whole[:size])
        refuses(hf, 'model.safetensors is damaged')


@pytest.mark.parametrize(
    'name',
    ['../out.safetensors', '/etc/passwd', 'a/b.safetensors', '..', '', 'x.bin', 'a\0.safetensors'],
)
def test_an_index_that_leaves_the_folder(hf, tensors, name):
    write_shards(hf, tensors)
    save_file(tensors, hf.parent / 'out.safetensors')
    (hf / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': {'a': name}}))
    refuses(hf, 'names .*, no .safetensors beside it; fetch the model anew')


@pytest.mark.parametrize(
    'content, sentence',
    [
        ('{', 'index.json is damaged'),
        ('[1]', 'index.json is damaged'),
        ('{"weight_map": 3}', 'index.json is damaged'),
        ('{"weight_map": {"a": []}}', 'index.json is damaged'),
        ('{"weight_map": {"a": 3, "b": "c"}}', 'index.json is damaged'),
        ('{"weight_map": {}}', 'names no file'),
        ('{"weight_map": {"a": "gone.safetensors"}}', 'gone.safetensors is missing'),
    ],
)
def test_a_broken_index(hf, tensors, content, sentence):
    write_shards(hf, tensors)
    (hf / 'model.safetensors.index.json').write_text(content)
    refuses(hf, sentence)


def test_broken_tensors(hf, tensors):
    path = hf / 'model.safetensors'
    for changed, sentence in (
        ({'lm_head.weight': tensors['wte.weight'] + 1}, 'lm_head.weight other than wte.weight'),
        ({'lm_head.weight': tensors['wte.weight'][:9]}, 'lm_head.weight other than wte.weight'),
        ({'score.weight': np.ones([2, 48], np.float32)}, 'has score.weight, which GPT-2 has not'),
        ({'ln_f.bias': np.ones(48, np.int32)}, 'has ln_f.bias in I32; save it as one of float32'),
        ({'h.1.mlp.c_fc.weight': np.ones([192, 48], np.float32)}, r'in the shape \[192, 48\]'),
    ):
        save_file(tensors | changed, path)
        refuses(hf, sentence)
    save_file({name: value for name, value in tensors.items() if name != 'ln_f.bias'}, path)
    refuses(hf, 'has no tensor ln_f.bias')
    write_shards(hf, tensors) if path.exists() else None
    shutil.copy(hf / 'model-1-of-2.safetensors', hf / 'model-2-of-2.safetensors')
    refuses(hf, 'has .* again, after model-1-of-2.safetensors')


@pytest.mark.parametrize(
    'name, content, sentence',
    [
        ('config.json', None, 'config.json is missing; name the folder of a Hugging Face model'),
        ('config.json', '[', 'config.json cannot be read'),
        ('config.json', '{"model_type": "gpt2"}', 'config.json does not say vocab_size'),
        ('model.safetensors', None, 'model.safetensors is missing'),
        ('vocab.json', None, 'neither tokenizer.json nor vocab.json and merges.txt; where trans'),
        ('vocab.json', '{', 'vocab.json holds no vocabulary'),
        ('vocab.json', '{"a": "b", "c": 1}', 'vocab.json holds no vocabulary'),
        ('vocab.json', '{"a": 0}', 'hf holds no vocabulary: encoder.json lacks the token'),
        ('merges.txt', b'\xff', 'merges.txt holds no vocabulary'),
        ('merges.txt', 'a\n', 'hf holds no vocabulary: its line 2 does not have two tokens'),
        ('added_tokens.json', '{"<x>": 512}', 'has a vocabulary of 513 tokens for a model of'),
    ],
)
def test_broken_files(hf, name, content, sentence):
    if content is None:
        (hf / name).unlink()
    elif isinstance(content, bytes):
        (hf / name).write_bytes(content)
    else:
        (hf / name).write_text(content)
    refuses(hf, sentence)


def test_a_link_to_nowhere(hf):
    (hf / 'model.safetensors').unlink()
    (hf / 'model.safetensors').symlink_to('gone')
    refuses(hf, 'model.safetensors is missing')


def test_whole_or_not_there(hf, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, 'write_tensors', fail)
        with pytest.raises(UserError, match='No space left on device; free some space there'):
            from_huggingface(hf, tmp_path / 'm')
    assert [path.name for path in tmp_path.iterdir()] == ['hf']
    from_huggingface(hf, tmp_path / 'm')
    with pytest.raises(UserError, match='m is there already; name another folder'):
        from_huggingface(hf, tmp_path / 'm')
