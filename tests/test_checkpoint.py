import json
import os
import resource
import signal

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2.checkpoint import load_params, reading, save_params
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.model_folder import load_hparams
from gpt2.params import flatten, init_params

DATA_FILE = 'model.ckpt.data-00000-of-00001'


@pytest.fixture
def hparams(tiny):
    return load_hparams(tiny)


def test_loads_by_folder_and_by_prefix(tiny, hparams):
    reader = tf.train.load_checkpoint(str(tiny / 'model.ckpt'))
    for source in (tiny, tiny / 'model.ckpt', str(tiny)):
        flat = flatten(load_params(source, hparams))
        assert len(flat) == 12 * 3 + 4
        for name, value in flat.items():
            assert isinstance(value, tf.Variable)
            assert np.array_equal(value, reader.get_tensor(f'model/{name}'))


def test_writes_the_bytes_that_the_original_wrote(tiny, hparams, tmp_path):
    params = load_params(tiny, hparams)
    save_params(tmp_path / 'new' / 'model.ckpt', params)
    written = sorted(path.name for path in (tmp_path / 'new').iterdir())
    assert written == ['checkpoint', DATA_FILE, 'model.ckpt.index']
    old = tf.train.load_checkpoint(str(tiny / 'model.ckpt'))
    new = tf.train.load_checkpoint(str(tmp_path / 'new'))
    assert new.get_variable_to_shape_map() == old.get_variable_to_shape_map()
    assert new.get_variable_to_dtype_map() == old.get_variable_to_dtype_map()
    assert (tmp_path / 'new' / DATA_FILE).read_bytes() == (tiny / DATA_FILE).read_bytes()
    assert (tmp_path / 'new' / 'checkpoint').read_text() == (tiny / 'checkpoint').read_text()


def test_the_original_code_would_restore_it(hparams, tmp_path):
    """By TensorFlow 1's Saver and latest_checkpoint, as OpenAI's samplers do."""
    params = init_params(hparams, seed=3)
    save_params(tmp_path / 'run' / 'model-7', params)
    params = {name: value.numpy() for name, value in flatten(params).items()}
    (tmp_path / 'run').rename(tmp_path / 'moved')
    with tf.Graph().as_default(), tf.compat.v1.Session() as sess:
        variables = {}
        for name, value in params.items():
            *scopes, last = f'model/{name}'.split('/')
            with tf.compat.v1.variable_scope('/'.join(scopes)):
                variables[name] = tf.compat.v1.get_variable(last, value.shape)
        saver = tf.compat.v1.train.Saver()
        saver.restore(sess, tf.train.latest_checkpoint(str(tmp_path / 'moved')))
        for name, variable in variables.items():
            assert np.array_equal(sess.run(variable), params[name])


def test_variables_beyond_the_models_own_are_left_alone(tiny, hparams):
    flat = flatten(load_params(tiny, hparams))
    save_params(tiny / 'model.ckpt', flat | {'h0/ln_1/g/Adam': tf.zeros([48])})
    assert flatten(load_params(tiny, hparams)).keys() == flat.keys()


def test_every_flipped_byte_of_the_weights_is_found(tiny, hparams):
    path = tiny / DATA_FILE
    whole = path.read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match=r'model\.ckpt is damaged .*; put the files'):
            load_params(tiny, hparams)


@pytest.mark.parametrize('name', [DATA_FILE, 'model.ckpt.index'])
@pytest.mark.parametrize('keep', [0, 0.5, 0.99])
def test_truncated_files(tiny, hparams, name, keep):
    folder = tiny.rename(tiny.with_name('124M'))
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UserError, match='damaged .*; run: python download_model.py 124M'):
        load_params(folder, hparams)


@pytest.mark.parametrize(
    'changed, sentence',
    [
        ({'n_layer': 4}, 'has no variable model/h3/ln_1/g'),
        ({'n_layer': 2}, 'has more blocks than the n_layer of 2'),
        ({'n_embd': 96}, r'has model/wpe in the shape \[64, 48\], not \[64, 96\]'),
        ({'n_vocab': 511}, r'has model/wte in the shape \[512, 48\], not \[511, 48\]'),
    ],
)
def test_hparams_that_do_not_match(tiny, changed, sentence):
    values = json.loads((tiny / 'hparams.json').read_text()) | changed
    (tiny / 'hparams.json').write_text(json.dumps(values))
    with pytest.raises(UserError, match=sentence + '.* hparams.json'):
        load_params(tiny, load_hparams(tiny))


def test_a_million_million_blocks_are_answered_at_once(tiny):
    with pytest.raises(UserError, match='has no variable model/h999999999999/ln_1/g'):
        load_params(tiny, HParams(512, 64, 48, 4, 10**12))


def test_another_type(tiny, hparams):
    flat = flatten(load_params(tiny, hparams))
    save_params(tiny / 'model.ckpt', {name: tf.cast(x, tf.float16) for name, x in flat.items()})
    with pytest.raises(UserError, match='has model/wpe in float16, not the float32 .*; put the'):
        load_params(tiny, hparams)


def test_nan_is_no_damage(tiny, hparams):
    flat = flatten(load_params(tiny, hparams))
    save_params(tiny / 'model.ckpt', flat | {'ln_f/g': np.full(48, np.nan, np.float32)})
    assert np.isnan(load_params(tiny, hparams)['ln_f']['g']).all()


def test_each_changed_byte_of_the_indexs_footer_is_a_sentence(tiny, hparams):
    path = tiny / 'model.ckpt.index'
    whole = path.read_bytes()
    for at in range(len(whole) - 48, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :])
        try:
            load_params(tiny, hparams)  # what fills it up means nothing
        except UserError as error:
            assert 'is damaged (' in str(error) and '[Op:' not in str(error)
            assert '{{' not in str(error)


def test_a_missing_folder(tmp_path, hparams):
    for missing in (tmp_path / '124M', tmp_path / '124M' / 'model.ckpt'):
        with pytest.raises(UserError, match='is missing; run: python download_model.py 124M'):
            load_params(missing, hparams)


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_whole(tiny, hparams):
    before = {path.name: path.read_bytes() for path in tiny.iterdir()}
    params = init_params(hparams, seed=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(UserError, match=r'model\.ckpt cannot be written: File too large; free'):
            save_params(tiny / 'model.ckpt', params)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tiny.iterdir()} == before


@pytest.mark.parametrize('kind', [tf.errors.PermissionDeniedError, tf.errors.UnknownError])
def test_a_file_that_may_not_be_read_is_not_damaged(tmp_path, kind):
    with pytest.raises(UserError, match='m cannot be read .*; choose another place or change its'):
        with reading(tmp_path / 'm'):  # of the data, and of the index
            raise kind(None, None, 'm.index; Permission denied')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_cannot_be_written(tiny, hparams):
    tiny.chmod(0o500)
    with pytest.raises(UserError, match='cannot be written'):
        save_params(tiny / 'model.ckpt', init_params(hparams))


def test_too_little_memory_is_no_damage():
    hparams = load_hparams(DATA / 'tiny-random')

    def convert(name, value):
        raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating')

    with pytest.raises(tf.errors.ResourceExhaustedError):
        load_params(DATA / 'tiny-random', hparams, convert)
