"""The engine: asks a model about many items, within limits, without losing or paying twice. It knows no dialogues."""
