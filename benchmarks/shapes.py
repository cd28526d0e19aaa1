"""Width, heads and layers of OpenAI's models."""

SHAPES = {
    '124M': (768, 12, 12),
    '355M': (1024, 16, 24),
    '774M': (1280, 20, 36),
    '1558M': (1600, 25, 48),
}
