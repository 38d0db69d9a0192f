"""What several systems share: attention between the parts of a molecule, fingerprint words, fusion."""
