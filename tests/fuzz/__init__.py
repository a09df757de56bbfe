"""Fuzzing of everything that reads foreign bytes.

``make fuzz SECONDS=600`` looks for what breaks; bytes that once did lie in ``crashes/``, and are
tried in every run of the tests. Nothing is imported here: atheris has to see it being imported.
"""
