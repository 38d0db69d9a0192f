"""Texts by a language model, in place of the describer's: record.text=llm.

    check(config)                          UserError before any work
    identity(config)                       what the texts depend on
    TextWriter(config, folder).write(...)  texts and counts

Neither torch, transformers nor httpx is imported before a text is asked for.
"""

from sharding.text.language_model.writer import TextWriter, check, identity

__all__ = ["TextWriter", "check", "identity"]
