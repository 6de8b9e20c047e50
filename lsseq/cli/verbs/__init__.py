"""One file a verb; the file's name is the verb's, and its `command` is a click command. Heavy imports stand inside functions."""
