"""Prompts at a terminal, and what is kept of them for the next session."""

import io
import multiprocessing
import os
import sys
from types import SimpleNamespace

import pytest

from gpt2 import completion, history
from gpt2 import terminal as gpt2_terminal
from gpt2.options import SamplingOptions
from terminal import Terminal, pasted

SCRIPT = """
from gpt2 import terminal
from gpt2.errors import UserError

def obey(line):
    if line == ':wrong':
        raise UserError('no such command')
    return None if line == ':quit' else f'<{line}>'

for text in terminal.prompts('? ', obey):
    print(f'[{ascii(text)}]')
    terminal.print_title(1)
    terminal.print_end()
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's, whose history nobody else has."""
    monkeypatch.delenv('XDG_STATE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('TERM', 'xterm')
    (tmp_path / 'inputrc').write_text('set enable-bracketed-paste off\n')  # as it may be
    monkeypatch.setenv('INPUTRC', str(tmp_path / 'inputrc'))
    return tmp_path / 'home'


@pytest.fixture
def session(tmp_path, home):
    """Starts a session, which has asked for its first prompt."""
    (tmp_path / 'script.py').write_text(SCRIPT)

    def session(**options):
        terminal = Terminal(tmp_path / 'script.py', cwd=tmp_path, **options)
        terminal.said = 0
        return terminal

    return session


def say(terminal, keys, answer):
    """Type once a prompt is asked for; before, a Ctrl-D would be lost."""
    terminal.said += 1
    terminal.wait_for('? ', terminal.said)
    before = terminal.text.count(answer)
    terminal.type(keys)
    terminal.wait_for(answer, before + 1)


def end(terminal):
    say(terminal, '\x04', '')
    assert terminal.end() == 0 and 'Traceback' not in terminal.text


def test_several_pasted_lines_are_one_prompt(session):
    terminal = session()
    asked = r"['ROMEO:\nWho is there?\n\nJULIET:']"
    say(terminal, pasted('ROMEO:\rWho is there?\r\rJULIET:') + '\r', asked)
    say(terminal, pasted('one line\r') + '\r', "['one line']")  # copied with its end
    say(terminal, pasted('"""a\r\rb') + '\rc\n"""\n', r"['a\n\nb\nc\n']")
    say(terminal, '\x1b[A\x1b[A\x1b[A\r', asked)  # as it was
    end(terminal)


def test_lines_that_begin_with_a_colon_are_commands(session):
    terminal = session()
    say(terminal, ':set length 50\n', '<:set length 50>')
    say(terminal, ':wrong\n', 'no such command')
    say(terminal, '""":set"""\n', "[':set']")
    say(terminal, ' :set\n', "[' :set']")
    say(terminal, ':quit\n', '')
    assert terminal.end() == 0 and 'Traceback' not in terminal.text


def test_what_is_saved_is_samples_alone(session, tmp_path, home):
    saved = tmp_path / 'saved.txt'
    terminal = session(saved=saved, columns=60)
    say(terminal, ':set\n', '<:set>')
    say(terminal, 'ROMEO:\n', 'ROMEO:')
    end(terminal)
    title = '=' * 40 + ' SAMPLE 1 ' + '=' * 40
    assert saved.read_text() == f"['ROMEO:']\n{title}\n{'=' * 80}\n"
    assert '====' not in terminal.text and not home.exists()


@pytest.mark.parametrize('columns', [200, 80, 50, 8])
def test_frames_fit(session, columns):
    terminal = session(columns=columns)
    say(terminal, 'ROMEO:\n', "['ROMEO:']")
    end(terminal)
    lines = [line for line in terminal.text.splitlines() if '==' in line or 'SAMPLE' in line]
    widths = [max(len(' SAMPLE 1 '), min(90, columns)), min(80, columns)]
    assert [len(line) for line in lines] == widths


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    'nsamples, batch_size, num_beams, stdout, comes',
    [
        (1, 1, 1, Screen, True),
        (1, 4, 1, Screen, True),
        (2, 1, 1, Screen, True),
        (2, 2, 1, Screen, False),
        (1, 1, 4, Screen, False),
        (2, 1, 1, io.StringIO, False),
    ],
)
def test_samples_made_one_by_one_appear_as_they_come(
    monkeypatch, nsamples, batch_size, num_beams, stdout, comes
):
    seen, asked = [], []

    def stream(model, contexts, options, *, numbers):
        asked.append((contexts, numbers))
        for piece in ('ab', 'cd'):
            yield [(None, piece)]
            seen.append(sys.stdout.getvalue())

    def samples(*_):
        for _ in range(nsamples):
            yield SimpleNamespace(text='abcd')

    monkeypatch.setattr(completion, 'stream', stream)
    monkeypatch.setattr(completion, 'samples', samples)
    monkeypatch.setattr('sys.stdout', stdout())
    monkeypatch.setenv('COLUMNS', '100')
    options = SamplingOptions(num_beams=num_beams)
    gpt2_terminal.print_samples(None, [7], options, nsamples, batch_size)
    texts = [f'{f" SAMPLE {n + 1} ".center(90, "=")}\nabcd\n' for n in range(nsamples)]
    assert sys.stdout.getvalue() == ''.join(texts)
    assert asked == [([[7]], [n]) for n in range(nsamples)] * comes
    assert [text[-2:] for text in seen] == ['ab', 'cd'] * nsamples * comes


def test_the_next_session_recalls(session, home):
    terminal, asked = session(), r"['a\\n\nb \xe4']"
    say(terminal, pasted('a\\n\rb ä') + '\r', asked)
    say(terminal, '\x1b[A\n', asked)  # the same again is kept once
    say(terminal, '  \n', '')
    say(terminal, ':set\n', '<:set>')
    end(terminal)
    file = home / '.local' / 'state' / 'gpt-2' / 'history'
    assert file.read_text('utf-8') == 'a\\\\n\\nb ä\n:set\n'
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    terminal = session()
    say(terminal, '\x1b[A\x1b[A\n', asked)
    end(terminal)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda home: home.write_text('a file'),
        lambda home: (home / '.local/state/gpt-2/history').mkdir(parents=True),
        lambda home: (os.makedirs(home / '.local/state/gpt-2'), os.mkfifo(history.find())),
        lambda home: (
            os.makedirs(home / '.local/state/gpt-2'),
            os.symlink('/dev/full', history.find()),
        ),
        lambda home: (
            os.makedirs(home / '.local/state/gpt-2'),
            history.find().write_bytes(b'\0\xff\n\n\\\n' + b'x' * 100_000),
        ),
    ],
)
def test_a_history_that_cannot_be_kept_is_no_error(session, home, spoil):
    spoil(home)
    terminal = session()
    say(terminal, 'ROMEO:\n', "['ROMEO:']")
    say(terminal, '\x1b[A\n', "['ROMEO:']")
    end(terminal)
    assert 'rror' not in terminal.text


def test_without_a_home_nothing_is_kept(session, monkeypatch, tmp_path):
    before = {*tmp_path.rglob('*')}
    for home in (None, '', 'relative'):
        monkeypatch.delenv('HOME', raising=False)
        if home is not None:
            monkeypatch.setenv('HOME', home)
        terminal = session()
        say(terminal, 'ROMEO:\n', "['ROMEO:']")
        end(terminal)
    assert {*tmp_path.rglob('*')} - before == {tmp_path / 'script.py'} - before


def test_where_it_is(home, monkeypatch):
    assert history.find() == home / '.local' / 'state' / 'gpt-2' / 'history'
    monkeypatch.setenv('XDG_STATE_HOME', 'relative')
    assert history.find() == home / '.local' / 'state' / 'gpt-2' / 'history'
    monkeypatch.setenv('XDG_STATE_HOME', '/state')
    assert str(history.find()) == '/state/gpt-2/history'


def test_a_thousand_lines_stay(tmp_path):
    path = tmp_path / 'history'
    path.write_text(''.join(f'{i}\n' for i in range(1500)))
    assert history.read(path) == [str(i) for i in range(500, 1500)]
    history.append(path, 'a\nb')
    assert history.read(path) == [*map(str, range(501, 1500)), 'a\nb']
    assert len(path.read_text().splitlines()) == history.MOST


def add(path, name):
    for number in range(200):
        history.append(path, f'{name} {number}')


def test_several_sessions_add(tmp_path):
    path = tmp_path / 'history'
    path.write_text('old\n' * 900)  # all of whom find it full
    tasks = [multiprocessing.Process(target=add, args=(path, name)) for name in 'abc']
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    kept = history.read(path)
    assert len(kept) == history.MOST
    for name in 'abc':
        assert [f'{name} {i}' for i in range(200)] == [text for text in kept if text[0] == name]


@pytest.mark.parametrize('text', ['a', 'a\nb', '\\', '\\n', '\\\n', '\\\\n\n\\', 'ä\t', '\n'])
def test_a_prompt_comes_back_as_it_was(tmp_path, text):
    history.append(tmp_path / 'history', text)
    assert history.read(tmp_path / 'history') == [text]
    assert (tmp_path / 'history').read_bytes().count(b'\n') == 1
