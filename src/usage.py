"""What --help prints: a command's docstring, one list of flags, as wide as the terminal.

After the docstring's text, an entry explains a flag, on a line or more, and a line of its own
that ends with a colon begins a group of them:

    Drawing:
    :top_k=0 : Draw among so many of the most probable tokens, 0 among all
     of them
"""

import inspect
import itertools
import re
import textwrap

ENTRY = re.compile(r':(\w+)(?:=.*?)?(?:\s:\s(.*))?$', re.S)


def read(doc: str | None) -> tuple[str, dict[str, tuple[str, str]]]:
    """(what stands before the flags, {flag: (its group or '', its entry)}) of a docstring."""
    summary, entries, group, name = [], {}, '', None
    for line, after in itertools.pairwise([*inspect.cleandoc(doc or '').splitlines(), '']):
        if found := ENTRY.match(line):
            name = found[1]
            entries[name] = group, line
        elif line.endswith(':') and line[0] != ' ' and ENTRY.match(after):
            group = line[:-1]
        elif name:
            entries[name] = entries[name][0], f'{entries[name][1]}\n{line}'.rstrip()
        else:
            summary.append(line)
    return '\n'.join(summary).strip(), entries


def text_of(entry: str) -> str:
    """':top_k=0 : Draw among\\n so many' -> 'Draw among so many'."""
    return ' '.join((ENTRY.match(entry)[2] or '').split())


def grouped(names, entries: dict[str, tuple[str, str]]) -> dict[str, list[str]]:
    """{group: its flags, in the order of `names`}; what has no group comes first."""
    groups = dict.fromkeys(['', *(group for group, _ in entries.values())])
    of = {name: entries.get(name, ('', ''))[0] for name in names}
    return {group: [name for name in names if of[name] == group] for group in groups}


def page(command, script: str, columns: int) -> str:
    """The help of a command, no line longer than the terminal is wide."""
    summary, entries = read(command.__doc__)
    parameters = inspect.signature(command).parameters
    words = [f'{name.upper()}{many(p)}' for name, p in parameters.items() if not is_flag(p)]
    parts = [how(script, words, columns), *paragraphs(summary, columns)]
    for group, names in grouped(parameters, entries).items():
        texts = {name: text_of(entries[name][1]) if name in entries else '' for name in names}
        rows = [row(*said(parameters[name], text), columns) for name, text in texts.items()]
        if rows:
            parts.append('\n'.join([f'{group}:', *rows] if group else rows))
    return '\n\n'.join(parts)


def overview(commands, script: str, columns: int) -> str:
    """The help of a script with several commands: what each does."""
    texts = {command.__name__: paragraphs(read(command.__doc__)[0], 10**6) for command in commands}
    rows = [row(name, text[0] if text else '', columns) for name, text in texts.items()]
    more = textwrap.fill(f'The flags of each: python {script} COMMAND --help', columns)
    return '\n\n'.join([how(script, ['COMMAND'], columns), '\n'.join(rows), more])


def how(script: str, words: list[str], columns: int) -> str:
    text = ' '.join(['Usage: python', script, *words, '[--flag value ...]'])
    return textwrap.fill(text, columns, subsequent_indent='    ', break_on_hyphens=False)


def paragraphs(text: str, columns: int) -> list[str]:
    """Wrapped anew, but for those with indented lines."""
    return [
        part if re.search('^ ', part, re.M) else textwrap.fill(part, columns)
        for part in re.split(r'\n\s*\n', text)
        if part
    ]


def is_flag(parameter: inspect.Parameter) -> bool:
    """Whether it may be left out, as it has a default."""
    return parameter.default is not inspect.Parameter.empty


def many(parameter: inspect.Parameter) -> str:
    return ' ...' if parameter.kind is parameter.VAR_POSITIONAL else ''


def said(parameter: inspect.Parameter, text: str) -> tuple[str, str]:
    """A flag with its default, and what is said of it."""
    if many(parameter):
        return f'{parameter.name.upper()} ...', text
    if is_flag(parameter):
        return f'--{parameter.name}={parameter.default}', text
    return f'--{parameter.name}', f'{text} (needed)'.lstrip()


def row(name: str, text: str, columns: int) -> str:
    """A name, and beside it its text, or below where the name is long."""
    indent = min(28, columns // 3)
    head = f'  {name}'
    lines = textwrap.wrap(text, max(columns - indent, 10), break_on_hyphens=False)
    if lines and len(head) < indent - 1:
        head = f'{head:{indent}}{lines.pop(0)}'
    return '\n'.join([head, *(' ' * indent + line for line in lines)])
