"""Pages that show what a model does: `attention(model, text)`, `predictions(model, text)`."""

from .pages import Page, attention, predictions

__all__ = ['Page', 'attention', 'predictions']
