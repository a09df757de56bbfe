"""What runs inside the programs of ``xttsreg exec``: TTS and trainer, answered from the store.

These modules are loaded by other people's Python processes, which may lack what the rest of
xttsreg needs. So they import the standard library and `xttsreg.errors`; torch and TTS only once
the program itself has.
"""
