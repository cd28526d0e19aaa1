"""The completions server: requests, a batch that they join and leave, OpenAI's API, the page."""
