"""Evidence: which parts of an answer stand word for word in the training text, whose they are, and how rare.

It is shown to people, and nobody is paid by it.  `build` makes the index of a training text, one private file;
`SpanIndex.open` maps it into memory; `find` is an answer's spans.
"""
