"""A text as its tokens are drawn, and where it stops. No TensorFlow."""

from collections.abc import Sequence

from .encoder import END_OF_TEXT, Encoder


class Text:
    """One sample: `add` its tokens, until `ended` says 'stop'.

    stops: texts that end it, wherever tokens begin and end; '<|endoftext|>' is that token, not its
    letters. The stop is no part of the text, unless include_stop. tokens, log_probs: of all that
    was drawn, up to the token with which the stop was whole. best: for each of them the most
    probable tokens, with their log-probabilities, where they are told. context: the
    ids that it continues.
    """

    def __init__(
        self,
        enc: Encoder,
        stops: Sequence[str] = (),
        include_stop: bool = False,
        context: Sequence[int] = (),
    ):
        self.stops = [stop for stop in stops if stop != END_OF_TEXT]
        self.end = enc.end_of_text if END_OF_TEXT in stops else None
        self.include_stop = include_stop
        self.decode = enc.decode_in_pieces(context)
        self.tokens, self.log_probs, self.best = [], [], []
        self.text, self.held = '', ''  # what is certain, and what may begin a stop
        self.ended = None

    def add(
        self, tokens: Sequence[int], log_probs: Sequence[float] = (), best: Sequence[list] = ()
    ) -> str:
        """Append tokens; returns what is certain to be text by now. Does nothing once ended.

        Half a character, and what may be the beginning of a stop, are held back.
        """
        before = len(self.text)
        for number, token in enumerate(tokens):
            if self.ended:
                break
            self.tokens.append(token)
            self.log_probs += log_probs[number : number + 1]
            self.best += best[number : number + 1]
            if token == self.end:
                self._end('stop', END_OF_TEXT)
            else:
                self._find_stop(self.decode([token]))
        return self.text[before:]

    def finish(self, reason: str = 'length') -> str:
        """End it, unless a stop has; returns what was held back."""
        before = len(self.text)
        if not self.ended:
            self._end(reason)
        return self.text[before:]

    @property
    def log_probability(self) -> float:
        return sum(self.log_probs)

    def _find_stop(self, new: str) -> None:
        """Move all of what is held back and `new` to the text, but what may begin a stop."""
        held = self.held + new
        ends = [
            (held.find(stop) + len(stop), -len(stop), stop) for stop in self.stops if stop in held
        ]
        if ends:
            end, _, stop = min(ends)  # the first that is whole, the longest of several
            self.held = held[: end - len(stop)]
            self._end('stop', stop)
            return
        begun = max((overlap(held, stop) for stop in self.stops), default=0)
        self.text += held[: len(held) - begun]
        self.held = held[len(held) - begun :]

    def _end(self, reason: str, stop: str = '') -> None:
        """With what was held back, but for half a character that a text stops before."""
        half = self.decode([], final=True) if stop in ('', END_OF_TEXT) else ''
        self.text += self.held + half + (stop if self.include_stop else '')
        self.held, self.ended = '', reason


def overlap(text: str, stop: str) -> int:
    """How many letters at the end of text begin a stop: 'one tw', 'two' -> 2."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
