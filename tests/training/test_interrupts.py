import contextlib
import signal

import pytest

from gpt2.errors import UserError
from gpt2.training.interrupts import Interrupts

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    """Those of before are set again."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize('number', SIGNALS)
def test_an_interrupt_waits_for_what_is_held(number):
    held, done = Interrupts(), []
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt), held:
        signal.raise_signal(number)
        done.append(held.asked)
    assert done == [True] and not held.asked
    with held:
        done.append('again')
    assert done == [True, 'again']


def test_an_error_is_not_hidden_by_an_interrupt():
    with pytest.raises(ZeroDivisionError), Interrupts():
        signal.raise_signal(signal.SIGINT)
        1 / 0  # noqa: B018


def test_what_tensorflow_makes_of_an_interrupt_is_heeded():
    interrupts = Interrupts()
    with pytest.raises(AttributeError), interrupts.heeded():
        raise AttributeError('no attribute _type_spec')
    with interrupts.heeded():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError('no attribute _type_spec')
    with pytest.raises(UserError), interrupts.heeded():
        raise UserError('the loss is no number')


def test_the_patient_only_remember():
    patient = Interrupts(patient=True)
    signal.raise_signal(signal.SIGTERM)
    with patient:
        signal.raise_signal(signal.SIGINT)
    assert patient.asked


@pytest.mark.parametrize('hold', [False, True])
def test_a_second_one_waits_until_the_run_is_saved(hold):
    interrupts, saved = Interrupts(), []
    with pytest.raises(KeyboardInterrupt):
        with interrupts if hold else contextlib.nullcontext():
            signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt), interrupts:
        signal.raise_signal(signal.SIGHUP)
        saved.append(True)
    assert saved == [True]


def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Interrupts()
    signal.raise_signal(signal.SIGHUP)
