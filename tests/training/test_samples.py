from jobs import train, working_directory  # noqa: F401


def test_samples(tmp_path):
    _, said = train(max_steps=2, sample_every=2, sample_num=2, sample_length=5)
    text = (tmp_path / 'samples' / 'run1' / 'samples-2').read_text('utf-8')
    told = [line.partition('\n')[2] for line in said if 'SAMPLE' in line]
    assert text == '\n'.join(told) and len(told) == 2
    assert text.startswith('======== SAMPLE 1 ========\n')
    assert not list((tmp_path / 'samples').rglob('*.part'))
