"""Which files hold text, and the text in them."""

import csv
import errno
import itertools
import os
import re

import pytest

from gpt2.data.read_text import check_column, find_files, read_pieces, read_whole
from gpt2.errors import UserError


def texts_of(path, encoding='utf-8', column=None):
    """The text of each document in a file, folder or pattern."""
    pieces = read_pieces(find_files(path, encoding), encoding, column)
    documents = itertools.groupby(pieces, key=lambda item: item[0])
    return [''.join(text for _, text in document) for _, document in documents]


@pytest.fixture
def folder(tmp_path):
    """Text in files of several kinds, and what is to be left out."""
    folder = tmp_path / 'data'
    for name, content in {
        'a.txt': 'Hello,\r\nworld',
        'b.csv': 'text\r\n"x, ""y""\nz"\r\n\r\nlast\r\n',
        'c.jsonl': '{"text": "one", "n": 1}\n\n{"text": ""}\n{"n": 2, "text": "tw\\u00f6"}\n',
        'd/e.md': '\ufeff# Title',
        'empty.txt': '',
        '.hidden': 'secret',
        '.git/config': 'secret',
        'z.png': b'\x89PNG\r\n\0\0',
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


TEXTS = ['Hello,\nworld', 'x, "y"\nz', 'last', 'one', 'twö', '# Title']


def test_says_what_it_leaves_out(folder):
    said = []
    files = find_files(folder, say=said.append)
    assert [path.name for path in files] == ['a.txt', 'b.csv', 'c.jsonl', 'e.md', 'empty.txt']
    assert said == [
        f'{folder}: left out as hidden: {folder}/.git/config and 1 more',
        f'{folder}: left out as binary: {folder}/z.png',
    ]


def test_empty_documents_do_not_count(folder):
    assert texts_of(folder) == TEXTS


def test_patterns(folder):
    assert find_files(folder / '**' / '*') == find_files(folder)
    assert find_files(folder / '*.csv') == [folder / 'b.csv']


def test_encoded_files_where_they_are_asked_for(folder):
    (folder / 'f.npz').write_bytes(b'\0')
    assert folder / 'f.npz' not in find_files(folder)
    assert folder / 'f.npz' in find_files(folder, encoded=True)


def test_pipes_and_links_to_nothing_are_left_out(folder):
    os.mkfifo(folder / 'd' / 'pipe')
    (folder / 'link').symlink_to('gone')
    said = []
    assert folder / 'd' / 'e.md' in find_files(folder, say=said.append)
    assert f'{folder}: left out as no file: {folder}/d/pipe and 1 more' in said
    with pytest.raises(UserError, match='pipe is no file, no folder, and no pattern'):
        find_files(folder / 'd' / 'pipe')


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path) in (f'{folder}/d', f'{folder}/.git'):
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    sentence = '/d cannot be read: Permission denied; choose another place or change its perm'
    with pytest.raises(UserError, match=f'{folder}{sentence}'):
        find_files(folder)
    (folder / 'd').rename(folder / '.d')
    assert folder / 'a.txt' in find_files(folder)  # what is hidden is left out in any case


def test_home_and_variables(folder, monkeypatch):
    monkeypatch.setenv('HOME', str(folder.parent))
    monkeypatch.setenv('NAME', 'data')
    assert find_files('~/$NAME') == find_files(folder)
    assert find_files('~/${NAME}/*.csv') == [folder / 'b.csv']
    with pytest.raises(UserError, match='a path is empty'):
        find_files('')


@pytest.mark.parametrize('name', ['a.txt', 'a.csv', 'a.jsonl'])
@pytest.mark.parametrize('encoding', ['utf-16-le', 'utf-16-be', 'utf-16'])
def test_utf16_is_recognised(tmp_path, encoding, name):
    path = tmp_path / name
    text = {'a.csv': 'text\nnaïve\n', 'a.jsonl': '{"text": "naïve"}\n'}.get(name, 'naïve')
    path.write_text(text * 1, encoding=encoding)
    sentence = f'{name} looks like {encoding}, not (utf-8|latin-1); set --encoding {encoding}$'
    for wrong in ('utf-8', 'latin-1'):
        with pytest.raises(UserError, match=sentence):
            texts_of(path, wrong)
    assert texts_of(path, encoding) == ['naïve']


def test_a_zero_in_a_text_is_no_utf16(tmp_path):
    (tmp_path / 'a.txt').write_text('to be\0or not to be')
    assert texts_of(tmp_path / 'a.txt') == ['to be\0or not to be']
    assert read_whole(tmp_path / 'a.txt') == 'to be\0or not to be'


def test_a_column_where_there_is_none(folder):
    files = find_files(folder)
    check_column(files, 'text')
    check_column(files[:1], None)
    with pytest.raises(UserError, match='a.txt has no columns, .*; leave out --column text'):
        check_column([folder / 'a.txt', folder / 'd' / 'e.md'], 'text')


def test_utf16_is_text_where_it_is_asked_for(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'a').write_text('naïve', encoding='utf-16')
    assert texts_of(tmp_path / 'data', 'utf-16') == ['naïve']
    assert find_files(tmp_path / 'data') == []


def test_columns(tmp_path):
    table, rows = tmp_path / 'a.CSV', tmp_path / 'a.jsonl'
    table.write_text(f'id,body\n1,{"long " * 40_000}\n')
    assert texts_of(table, column='body') == ['long ' * 40_000]
    rows.write_text('{"id": 1, "body": "two", "text": "three"}\n')
    assert texts_of(rows, column='body') == ['two']
    assert texts_of(rows) == ['three']


def test_long_fields_are_for_its_own_tables_alone(tmp_path):
    limit = csv.field_size_limit()
    for name in ('a.csv', 'b.csv'):
        (tmp_path / name).write_text('text\n' + f'{"long " * 40_000}\n' * 3)
    one, two = (read_pieces([tmp_path / name]) for name in ('a.csv', 'b.csv'))
    for _ in zip(one, two, strict=True):  # in turns
        assert csv.field_size_limit() == limit
    assert limit < 200_000


@pytest.mark.parametrize(
    'name, content, sentence',
    [
        ('a.csv', 'id,body\n1,x\n', 'line 2 has no column text, but: id, body; set --column'),
        (
            'a.csv',
            'id,text\n1\n',
            'line 2 is broken: it has fewer fields than the first line names; mend the row',
        ),
        ('a.csv', 'id,text\n1,"a\nb"\n2,c,d\n', 'line 4 is broken: it has more fields than'),
        ('a.csv', 'id,text\n1,a\ntwo\n', 'line 3 is broken: it has fewer fields than'),
        ('a.csv', 'text,text\na,b\n', 'line 1 is broken: it has the same name twice'),
        ('a.jsonl', '{"text": "a"}\n{"tixt": "b"}\n', 'line 2 has no column text, but: tixt; set'),
        ('a.jsonl', '{"text": "a", "text": "b"}\n', 'line 1 is broken: it has the same name tw'),
        ('a.csv', 'text\na\n"b"c\n', 'line 3 is broken: .*; mend the row'),
        ('a.csv', 'text\na\n"b\nc\n', 'line 3 is broken: unexpected end of data; mend'),
        ('a.jsonl', '{"text": "a"}\n{"b": "a", "c": 1}\n', 'line 2 has no column text, but: b, c'),
        ('a.jsonl', '{"text": "a"}\n\n{"text": oops}\n', 'line 3 is broken: Expecting value'),
        ('a.jsonl', '["text"]\n', 'line 1 is no JSON object; mend the row'),
        ('a.jsonl', '[' * 100_000, 'line 1 is broken: maximum recursion depth exceeded'),
        ('a.jsonl', '{"text": ' + '9' * 5000 + '}', 'line 1 is broken: Exceeds the limit'),
        ('a.jsonl', f'{{"text": {[1] * 9999}}}', r'line 1 has .{1,99} as text, which is no te'),
        ('a.jsonl', '{"text": 5}\n', 'line 1 has 5 as text, which is no text; mend the row'),
        ('a.jsonl', '{"text": "\\ud800"}\n', 'line 1 has a lone surrogate in text; mend the row'),
    ],
)
def test_broken_rows(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} {sentence}'):
        texts_of(path)


def test_a_missing_column_is_found_before_anything_is_read(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'a.txt').write_text('a')
    (tmp_path / 'data' / 'b.csv').write_text('id,body\n1,x\n')
    with pytest.raises(UserError, match='no column text'):
        read_pieces(find_files(tmp_path / 'data'))


@pytest.mark.parametrize('offset', [0, 1, 8190, 8191, 8192, 8193, 100_001])
@pytest.mark.parametrize('mark', ['', '\ufeff'])
@pytest.mark.parametrize('name', ['a.txt', 'a.jsonl'])
def test_undecodable_bytes(tmp_path, offset, mark, name):
    path = tmp_path / name
    before = mark.encode() + b'\n' * offset
    path.write_bytes(before + 'é'.encode('latin-1') + b't\xe9' * 9000)
    where = f'{name} is not utf-8 at byte {len(before)}; say what it is, as in --encoding latin-1'
    with pytest.raises(UserError, match=where):
        texts_of(path)


def test_undecodable_bytes_in_other_encodings(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('no mark')
    with pytest.raises(UserError, match='is not utf-16 at byte 0; say what it is'):
        texts_of(path, 'utf-16')
    path.write_bytes('x'.encode('utf-16') + b'\x00')
    with pytest.raises(UserError, match='is not utf-16 at byte 4; say what it is'):
        texts_of(path, 'utf-16')
    for encoding in ('utf-99', 'hex', '\udcff'):
        with pytest.raises(UserError, match='no encoding of text is called .*; --encoding is'):
            texts_of(path, encoding)


def test_what_is_not_there(tmp_path):
    for path in ('gone.txt', 'gone/*.txt', tmp_path / '*.gone'):
        with pytest.raises(UserError, match='is no file, no folder, and no pattern that matches'):
            find_files(path)
