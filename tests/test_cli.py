import subprocess
import sys

import pytest

from gpt2.cli import parse_flags
from gpt2.errors import UserError


def command(
    model_name: str = '124M',
    seed: int | None = None,
    temperature: float = 1,
    top_k: int = 0,
    quick: bool = False,
    models_dir: str = 'models',
):
    """
    A command

    :model_name=124M : String, which model to use
    """


def several(*names: str, models_dir: str = 'models'):
    """A command of any number of words."""


@pytest.mark.parametrize(
    'argv, expected',
    [
        ([], ('124M', None, 1, 0, False, 'models')),
        (['345M', '1', '0.7', '40'], ('345M', 1, 0.7, 40, False, 'models')),
        (['--model_name', '124'], ('124', None, 1, 0, False, 'models')),
        (['--models_dir=1,2', '--seed=None'], ('124M', None, 1, 0, False, '1,2')),
        (['--top-k', '3', '--quick'], ('124M', None, 1, 3, True, 'models')),
        (['--noquick', '--temperature', '1e-3'], ('124M', None, 1e-3, 0, False, 'models')),
    ],
)
def test_flags(argv, expected):
    args, kwargs = parse_flags(command, argv)
    assert (args, kwargs) == (expected, {})
    assert [type(value) for value in args[:1]] == [str]


def test_words():
    assert parse_flags(several, ['345', '1e5', '--models_dir', '7']) == (
        ('345', '1e5'),
        {'models_dir': '7'},
    )


@pytest.mark.parametrize(
    'argv, sentence',
    [
        (['--topk', '40'], r'--topk \(did you mean --top_k.*\?\); run: python .* --help'),
        (['345M', '--temprature=2'], r'did you mean --temperature'),
        (['--seed', 'x'], "--seed is a whole number, not 'x'"),
        (['--top_k', '1.5'], "--top_k is a whole number, not '1.5'"),
        (['--temperature', 'hot'], "--temperature is a number, not 'hot'"),
        (['--quick', 'perhaps'], "--quick is True or False, not 'perhaps'"),
        (['a', '1', '1', '1', 'True', 'b', 'c'], 'c; run: python .* --help'),
    ],
)
def test_mistakes(argv, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_flags(command, argv)


SCRIPT = """
import sys
from gpt2 import cli, runtime
from gpt2.errors import UserError

def main(what: str = 'print'):
    '''
    Do something

    :what=print : String, what to do
    '''
    print('started', flush=True)
    if what == 'mistake':
        raise UserError('no such thing; run: something else')
    if what == 'bug':
        raise KeyError('a bug')
    if what == 'interrupt':
        raise KeyboardInterrupt
    if what == 'much':
        for i in range(100_000):
            print(i)
    if what == 'echo':
        for line in cli.prompts('? '):
            print(line)
    if what == 'tensorflow':
        runtime.start()
    if what == 'broken':
        sys.modules['tensorflow'] = None
        runtime.start()

def other(number: int = 1):
    '''
    Do another thing
    '''
    print('other', number)

cli.run(*[main, other][: 1 + ('several' in sys.argv[0])])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / 'script.py'
    path.write_text(SCRIPT)

    def script(*args, **options):
        options = {'capture_output': True, 'timeout': 60} | options
        return subprocess.run([sys.executable, path, *args], **options)

    return script


def test_a_mistake_is_one_sentence_and_exit_code_2(script):
    done = script('mistake')
    assert done.returncode == 2
    assert done.stderr == b'script.py: no such thing; run: something else\n'


def test_a_bug_keeps_its_traceback(script):
    done = script('bug')
    assert done.returncode == 1
    assert b'Traceback' in done.stderr and b"KeyError: 'a bug'" in done.stderr


def test_an_interrupt_is_quiet(script):
    done = script('interrupt')
    assert (done.returncode, done.stdout, done.stderr) == (130, b'started\n', b'')


def test_a_misspelt_flag_starts_nothing(script):
    done = script('--waht', 'bug')
    assert (done.returncode, done.stdout) == (2, b'')
    assert b'did you mean --what?' in done.stderr and done.stderr.count(b'\n') == 1


def test_help_starts_nothing(script):
    for argv in (['--help'], ['bug', '--help'], ['-h']):
        done = script(*argv)
        assert (done.returncode, done.stdout) == (0, b'')
        assert b'--what' in done.stderr and b':what=print : String, what to do' in done.stderr


def test_several_commands(tmp_path):
    path = tmp_path / 'several.py'
    path.write_text(SCRIPT)

    def several(*argv):
        return subprocess.run([sys.executable, path, *argv], capture_output=True, text=True)

    assert several('other', '--number', '2').stdout == 'other 2\n'
    assert several('main', 'print').stdout == 'started\n'
    for argv in ([], ['--help']):
        done = several(*argv)
        assert (done.returncode, done.stdout) == (0, '')
        assert 'Do something' in done.stderr and 'Do another thing' in done.stderr
    done = several('other', '--help')
    assert (done.returncode, done.stdout) == (0, '')
    assert 'several.py other' in done.stderr and '--number' in done.stderr
    for argv, sentence in (
        (['othr'], 'several.py: there is no command othr (did you mean other?), but main, other; '),
        (['other', '--numbr=2'], 'did you mean --number?); run: python several.py other --help'),
        (['--number=2'], 'run: python several.py --help'),
    ):
        done = several(*argv)
        assert (done.returncode, done.stdout, done.stderr.count('\n')) == (2, '', 1)
        assert sentence in done.stderr


def test_a_closed_pipe_is_quiet(tmp_path, script):
    script()
    done = subprocess.run(
        f'{sys.executable} {tmp_path}/script.py much | head -n 1', shell=True, capture_output=True
    )
    assert (done.stdout, done.stderr) == (b'started\n', b'')


def test_utf8_whatever_the_locale(script):
    text = 'naïve 漢字 😀'.encode()
    env = {'LC_ALL': 'en_US.ISO-8859-1', 'PYTHONIOENCODING': 'latin-1', 'PYTHONUTF8': '0'}
    done = script('echo', input=text + b'\n\n  \n\xff\n', env=env)
    assert done.returncode == 0
    assert text + b'\n' in done.stdout
    assert '\ufffd\n'.encode() in done.stdout
    assert done.stdout.count(b'? ') == 5  # the empty lines are asked for again


def test_tensorflow_says_nothing_unless_it_fails(script):
    done = script('tensorflow')
    assert (done.returncode, done.stderr) == (0, b'')
    done = script('broken')
    assert done.returncode == 1 and b'ModuleNotFoundError' in done.stderr
