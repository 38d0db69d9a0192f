"""The text view of a molecule: a describer without a model, a language model, and the validator of both.

    describe.py      three sentences by rule: scaffold.py, profile.py, groups.py
    validate.py      whether such sentences are true, and say nothing that they must not
    language_model/  the same three from a language model, the describer where it fails
The rest serves these: chemistry_names.py has the vocabulary, patterns.py and surroundings.py know where it applies,
rings.py, links.py and skeleton.py read scaffolds; claims.py and evidence.py are the validator's.
"""
