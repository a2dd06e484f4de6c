"""The whole conversion: read, walk, verify, emit, reload, compare again."""
