"""Layer 3: the verbs, as functions over stores. No printing, no prompting, no exit."""
