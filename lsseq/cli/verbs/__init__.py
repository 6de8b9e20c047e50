"""One file a verb, named as the verb is; its `command` is a click command. Heavy imports stand inside functions."""
