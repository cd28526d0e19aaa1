"""The commands that go on with a run, go back in it, and sample from it. No TensorFlow."""

import shlex

from .job import Job


def last_lines(job: Job, step: int) -> list[str]:
    """What is said at the end of a run of so many steps."""
    name, most, folder = job.folder.path.name, job.flags.max_steps, job.folder.path
    lines = []
    if most and step > most:
        lines.append(
            f'{name} has {step} steps already, more than --max_steps {most}: none was trained; '
            'to go on, raise --max_steps'
        )
    elif most and step == most:
        lines.append(f'{name} has its {most} steps; to go on, raise --max_steps')
    if job.cluster.size == 1:
        more = None if most is None else most if step < most else 2 * step
        lines.append(f'Go on: {_train(job, max_steps=more)}')
    lines.append(f'Try: {_sample(job, folder.parent, name)}')
    if (folder / 'best' / 'checkpoint').exists():
        lines.append(f'Try the best: {_sample(job, folder, "best")}')
    return lines


def going_back(job: Job, step: int, learning_rate: float) -> str:
    """The command that goes on from a checkpoint of the run, with another learning rate."""
    prefix = job.folder.path / f'model-{step}'
    flags = {'restore_from': prefix, 'max_steps': job.flags.max_steps}
    return _train(job, **flags, learning_rate=f'{learning_rate:g}')


def _train(job: Job, **flags) -> str:
    return command(job.command, run_name=job.folder.path.name, **flags)


def _sample(job: Job, models_dir, model_name: str) -> str:
    names = {'models_dir': models_dir, 'model_name': model_name}
    names |= {'template': job.flags.template and True}
    return command('interactive_conditional_samples.py', **names)


def command(script: str, **flags) -> str:
    """('a.py', top_k=40, seed=None, template=True) -> 'python a.py --top_k 40 --template'."""
    words = ['python', *script.split()]
    for name, value in flags.items():
        if value is not None:
            words += [f'--{name}'] if value is True else [f'--{name}', str(value)]
    return shlex.join(words)
