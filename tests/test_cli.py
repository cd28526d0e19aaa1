import os
import re
import subprocess
import sys

import pytest

from gpt2.cli import bind_flags, parse_flags
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
        (['--quick', '--seed', '+5'], ('124M', 5, 1, 0, True, 'models')),
        (['--temperature', '-.5', '--top_k=-3'], ('124M', None, -0.5, -3, False, 'models')),
        (['-q', '-s', '18446744073709549568'], ('124M', 2**64 - 2048, 1, 0, True, 'models')),
    ],
)
def test_flags(argv, expected):
    args, kwargs = parse_flags(command, argv)
    assert (args, kwargs) == (expected, {})
    assert [type(value) for value in args[:1]] == [str]


@pytest.mark.parametrize(
    'argv, typed',
    [
        ([], {}),
        (['345M', '--seed=None'], {'model_name': '345M', 'seed': None}),
        (['--top_k', '0', '--noquick'], {'top_k': 0, 'quick': False}),  # also a default
    ],
)
def test_which_flags_are_typed(argv, typed):
    assert bind_flags(command, argv).arguments == typed
    assert bind_flags(several, []).arguments == {}
    assert bind_flags(several, ['a', '--models_dir', 'models']).arguments == {
        'names': ('a',),
        'models_dir': 'models',
    }


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
        *(
            (['--seed', text], f'--seed is a whole number, not {text!r}')
            for text in ('1_000', ' 5', '5 ', '٣', '0x10', '1.0', 'True', '5_')
        ),
        *(
            (['--temperature', text], f'--temperature is a number, not {text!r}')
            for text in ('nan', 'inf', '1_0.5', ' 1', '٣', '1e', '.', 'None')
        ),
        (['--temperature', '1e400'], '--temperature is a number, but 1e400 is too large; set a'),
        (['--seed', str(2**64)], f'--seed is a whole number, but {2**64} is too large; set a'),
        (['--seed', '9' * 5000], '--seed is a whole number, but 9{5000} is too large; set a'),
        (['--models_dir'], '--models_dir lacks its value; run: python .* --help'),
        (['--models-dir', '--quick'], '--models-dir lacks its value; run: python .* --help'),
        (['--models_dir', '-q'], '--models_dir lacks its value; run: python .* --help'),
        (['--temperature=-inf'], "--temperature is a number, not '-inf'"),
        (['--temperature', '-inf'], '--temperature lacks its value; run: python .* --help'),
        (['-s'], '-s lacks its value; run: python .* --help'),
        (['--noseed'], '--noseed lacks its value; run: python .* --help'),
        (['--models_dir='], '--models_dir is empty; give it a value'),
        (['--models_dir', ''], '--models_dir is empty; give it a value'),
        *(
            ([*words], f'{words[0]} stands for nothing here; run: python .* --help')
            for words in (['--'], ['--', '--trace'], ['--', '--interactive'], ['-', 'upper'])
        ),
        (['a', '1', '1', '1', 'True', 'b', 'c'], 'c; run: python .* --help'),
    ],
)
def test_mistakes(argv, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_flags(command, argv)


SCRIPT = """
import os, sys
from gpt2 import cli, runtime, terminal
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
    if what == 'code':
        return 5
    if what == 'denied':
        raise PermissionError(13, 'Permission denied', 'models/a\\nb')
    if what == 'busy':
        raise OSError(16, 'Device or resource busy')
    if what == 'interrupt':
        raise KeyboardInterrupt
    if what == 'much':
        for i in range(100_000):
            print(i)
    if what == 'echo':
        for line in terminal.prompts('? '):
            print(line)
    if what == 'file':
        with open('file', 'w') as file:
            print('to the output', flush=True)
            print('to stderr', file=sys.stderr, flush=True)
            os.write(1, b'to the output')
            os.write(2, b'to stderr')
            file.write('its own')
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


def test_a_command_may_return_its_exit_code(script):
    assert script('code').returncode == 5


@pytest.mark.parametrize(
    'what, sentence',
    [
        (
            'denied',
            r'models/a\nb: Permission denied; choose another place or change its permissions',
        ),
        ('busy', 'Device or resource busy; choose another place'),
    ],
)
def test_what_the_system_refuses_is_one_sentence(script, what, sentence):
    done = script(what)
    assert (done.returncode, done.stderr.decode()) == (2, f'script.py: {sentence}\n')


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('what', ['print', 'much'])
def test_a_full_disk_behind_the_output_is_one_sentence(script, what, unbuffered):
    env = os.environ | {'PYTHONUNBUFFERED': unbuffered}
    with open('/dev/full', 'w') as full:
        done = script(what, stdout=full, stderr=subprocess.PIPE, capture_output=False, env=env)
    sentence = 'the output: No space left on device; free some space there'
    assert (done.returncode, done.stderr.decode()) == (2, f'script.py: {sentence}\n')


def test_nobody_hears_of_a_mistake(script, tmp_path):
    script()
    command = f'{sys.executable} {tmp_path}/script.py'
    for what, code in (('print', 0), ('mistake', 2), ('--nonsense', 2), ('interrupt', 130)):
        for closed in ('2>/dev/full', '2>&-', '>&- 2>&-', '<&- >&- 2>&-'):
            done = subprocess.run(f'{command} {what} {closed}', shell=True, capture_output=True)
            assert (done.returncode, done.stderr) == (code, b''), (what, closed)


def test_no_file_gets_what_is_meant_for_a_closed_stream(script, tmp_path):
    script()
    command = f'cd {tmp_path}; {sys.executable} script.py file'
    for closed in ('>&-', '2>&-', '>&- 2>&-', '<&-', '<&- >&- 2>&-'):
        subprocess.run(f'{command} {closed}', shell=True, capture_output=True, check=True)
        assert (tmp_path / 'file').read_text() == 'its own'


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
        assert (done.returncode, done.stderr) == (0, b'')
        assert re.search(rb'^  --what=print +String, what to do$', done.stdout, re.M)
        assert b'started' not in done.stdout


def test_help_into_a_pipe_that_is_closed(script, tmp_path):
    script()
    command = f'{sys.executable} {tmp_path}/script.py --help | head -c 0'
    done = subprocess.run(command, shell=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b'', b'')


def test_what_is_missing_is_said():
    def command(*words: str, text: str, dataset: str = 'a'):
        """Needs a text."""

    with pytest.raises(UserError, match='^--text is missing; run: python a.py --help$'):
        parse_flags(command, ['word'], 'a.py')

    def other(dataset: str, run_name: str):
        """Needs two."""

    for argv, name in ([], 'dataset'), (['a'], 'run_name'), (['--run_name', 'a'], 'dataset'):
        with pytest.raises(UserError, match=f'^--{name} is missing; run: python a.py --help$'):
            parse_flags(other, argv, 'a.py')


def test_several_commands(tmp_path):
    path = tmp_path / 'several.py'
    path.write_text(SCRIPT)

    def several(*argv):
        return subprocess.run([sys.executable, path, *argv], capture_output=True, text=True)

    assert several('other', '--number', '2').stdout == 'other 2\n'
    assert several('main', 'print').stdout == 'started\n'
    for argv in ([], ['--help']):
        done = several(*argv)
        assert (done.returncode, done.stderr) == (0, '')
        assert re.search('^  main +Do something\n  other +Do another thing$', done.stdout, re.M)
    done = several('other', '--help')
    assert (done.returncode, done.stderr) == (0, '')
    assert 'several.py other' in done.stdout and '--number' in done.stdout
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
