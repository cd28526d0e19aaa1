import pytest

from gpt2.errors import UserError
from gpt2.training.cluster import ALONE
from jobs import new_job, working_directory  # noqa: F401


def test_a_job_has_all_that_the_loop_needs(tmp_path):
    job = new_job()
    assert job.cluster == ALONE and job.sampler is job.val_sampler
    assert str(job.start.prefix) == 'models/small/model.ckpt' and job.start.facts is None
    assert job.enc.decode(job.sampler.sample(32)) and job.sampler.longest > 1000
    assert [path.name for path in (tmp_path / 'checkpoint').iterdir()] == ['.run1.lock']


def test_a_dataset_of_its_own_for_validation(tmp_path):
    (tmp_path / 'held.txt').write_text('some text')
    job = new_job(val_dataset='held.txt')
    assert 1 < job.val_sampler.total_size < job.sampler.total_size


def test_mistakes_leave_nothing_behind(tmp_path):
    for flags, sentence in (
        ({'context_length': 65}, '--context_length 65 is more than the n_ctx of 64'),
        ({'batch_size': 0}, '--batch_size is a number from 1 up, not 0'),
        ({'dataset': 'missing.txt'}, 'missing.txt is no file'),
    ):
        with pytest.raises(UserError, match=sentence):
            new_job(**flags)
    assert not (tmp_path / 'checkpoint').exists()


def test_a_worker_needs_no_checkpoint(tmp_path, monkeypatch):
    new_job()  # writes models/small
    for path in (tmp_path / 'models' / 'small').glob('*'):
        if path.name not in ('encoder.json', 'vocab.bpe'):
            path.unlink()
    config = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'
    monkeypatch.setenv('TF_CONFIG', config)
    job = new_job(run_name='other')
    assert not job.cluster.is_chief and job.start.hparams is job.start.prefix is None
    assert not (tmp_path / 'checkpoint' / '.other.lock').exists()
