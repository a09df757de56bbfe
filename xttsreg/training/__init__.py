"""Fine-tuning: recipe, guard, proof, run, voice. Only here TTS, trainer and torch are imported.

Importing this package loads none of them; the functions do, when they are called.
"""
