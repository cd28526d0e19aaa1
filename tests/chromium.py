"""A headless Chromium, by its debugging protocol over two pipes: what needs no library."""

import contextlib
import json
import os
import shutil
import subprocess
from base64 import b64decode

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
PATH = next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One tab. said: what its console and its network were told since it was opened."""

    def __init__(self, reading, writing):
        self.reading, self.writing, self.unread = reading, writing, b''
        self.number, self.session, self.said = 0, '', []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self.session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def call(self, method: str, **params) -> dict:
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': params}
        message |= {'sessionId': self.session} if self.session else {}
        self.writing.write(json.dumps(message).encode() + b'\0')
        self.writing.flush()
        while (answer := self._read()).get('id') != self.number:
            pass
        assert 'error' not in answer, answer
        return answer['result']

    def _read(self) -> dict:
        while b'\0' not in self.unread:
            piece = self.reading.read1()
            assert piece, 'Chromium has ended'
            self.unread += piece
        message, _, self.unread = self.unread.partition(b'\0')
        message = json.loads(message)
        if 'method' in message:
            self.said.append(message)
        return message

    def open(self, url: str) -> None:
        self.said.clear()
        self.call('Page.navigate', url=url)
        while all(message['method'] != 'Page.loadEventFired' for message in self.said):
            self._read()

    def complaints(self) -> list:
        """Errors and words of the console, and what was asked for beside the page itself."""
        bad = ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled', 'Log.entryAdded')
        asked = [m['params'] for m in self.said if m['method'] == 'Network.requestWillBeSent']
        return [m for m in self.said if m['method'] in bad] + asked[1:]

    def run(self, script: str):
        """The value of an expression in the page."""
        result = self.call('Runtime.evaluate', expression=script, returnByValue=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def place(self, element: str) -> dict:
        """The middle of an element, of its last line, scrolled into view."""
        script = f"""(element => {{
            element.scrollIntoView({{block: 'center'}})
            const {{x, y, width, height}} = [...element.getClientRects()].at(-1)
            return {{x: x + width / 2, y: y + height / 2}}
        }})({element})"""
        return self.run(script)

    def hover(self, element: str) -> None:
        self.call('Input.dispatchMouseEvent', type='mouseMoved', **self.place(element))

    def click(self, element: str) -> None:
        at = self.place(element)
        for kind in ('mouseMoved', 'mousePressed', 'mouseReleased'):
            button = {} if kind == 'mouseMoved' else {'button': 'left', 'clickCount': 1}
            self.call('Input.dispatchMouseEvent', type=kind, **at, **button)

    def press(self, key: str) -> None:
        for kind in ('rawKeyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key)

    def look(self, width: int, height: int, scheme: str) -> None:
        """The size of the screen, and 'light' or 'dark'."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{'name': 'prefers-color-scheme', 'value': scheme}]
        self.call('Emulation.setEmulatedMedia', features=features)

    def screenshot(self) -> bytes:
        return b64decode(self.call('Page.captureScreenshot', captureBeyondViewport=True)['data'])


@contextlib.contextmanager
def tab(profile):
    """A Tab of a Chromium whose profile is a new folder, without a network."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']
    flags += ['--remote-debugging-pipe', f'--user-data-dir={profile}']
    flags += ['--proxy-server=127.0.0.1:9', '--no-first-run']  # nobody listens there
    # The pipes are to be 3 and 4.
    shell = ['bash', '-c', f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', 'chromium', PATH, *flags]
    with open(profile / 'stderr', 'wb') as stderr:
        process = subprocess.Popen(shell, pass_fds=(theirs_in, theirs_out), stderr=stderr)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        with open(ours_in, 'rb') as reading, open(ours_out, 'wb') as writing:
            tab = Tab(reading, writing)
            yield tab
            tab.session = ''
            tab.call('Browser.close')
        process.wait(20)
    finally:
        process.kill()
        process.wait()
