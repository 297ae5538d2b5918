"""SQL at the border: plans to statements in an engine's dialect, through sqlglot's nodes.

Everything is built as syntax trees; no SQL text is pasted together. sqlglot is imported only when
a statement is built.
"""
