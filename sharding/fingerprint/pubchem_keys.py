"""The 881 PubChem substructure keys, in the words of their specification.

Source: "PubChem Substructure Fingerprint", version 1.3, 2009-05-01, National Library of Medicine,
https://ftp.ncbi.nlm.nih.gov/pubchem/specifications/pubchem_fingerprints.txt, a document of the United States
government, in the public domain. A key's bit is its place in its section plus the section's first bit.

How the sections are to be read:
    elements    (0)    at least n atoms of an element
    rings       (115)  at least n rings of a size, each in seven kinds; then aromatic rings of any size
    pairs       (263)  two atoms and any bond
    neighbours  (327)  an atom and some neighbours; ~ is any bond, : an aromatic one
    detailed    (416)  the same; - is single or aromatic, = double or aromatic, # triple
    simple      (460)  chains, bonds as before; [#1] is a hydrogen
    complex     (713)  two substituents on a ring, in all ways to place two of six elements
"""

from itertools import combinations_with_replacement


def _words(text: str, separator: str | None = None) -> list[str]:
    return text.split(separator)


ELEMENTS = [
    (symbol, int(least))
    for symbol, *counts in map(
        str.split,
        _words(
            """
        H 4 8 16 32; Li 1 2; B 1 2 4; C 2 4 8 16 32; N 1 2 4 8; O 1 2 4 8 16; F 1 2 4; Na 1 2; Si 1 2; P 1 2 4;
        S 1 2 4 8; Cl 1 2 4 8; K 1 2; Br 1 2 4; I 1 2 4; Be 1; Mg 1; Al 1; Ca 1; Sc 1; Ti 1; V 1; Cr 1; Mn 1;
        Fe 1; Co 1; Ni 1; Cu 1; Zn 1; Ga 1; Ge 1; As 1; Se 1; Kr 1; Rb 1; Sr 1; Y 1; Zr 1; Nb 1; Mo 1; Ru 1;
        Rh 1; Pd 1; Ag 1; Cd 1; In 1; Sn 1; Sb 1; Te 1; Xe 1; Cs 1; Ba 1; Lu 1; Hf 1; Ta 1; W 1; Re 1; Os 1;
        Ir 1; Pt 1; Au 1; Hg 1; Tl 1; Pb 1; Bi 1; La 1; Ce 1; Pr 1; Nd 1; Pm 1; Sm 1; Eu 1; Gd 1; Tb 1; Dy 1;
        Ho 1; Er 1; Tm 1; Yb 1; Tc 1; U 1
    """,
            ";",
        ),
    )
    for least in counts
]
"""(symbol, at least)"""

RINGS = [
    (size, least)
    for size, most in ((3, 2), (4, 2), (5, 5), (6, 5), (7, 2), (8, 2), (9, 1), (10, 1))
    for least in range(1, most + 1)
]
"""(size, at least), each with these kinds: any; saturated or aromatic and of carbon only, with nitrogen, with a
heteroatom; unsaturated, not aromatic and of carbon only, with nitrogen, with a heteroatom"""

AROMATIC_RINGS = [1, 2, 3, 4]
"""At least so many aromatic rings, then so many hetero-aromatic ones, in turn."""

PAIRS = _words(
    """
    Li-H Li-Li Li-B Li-C Li-O Li-F Li-P Li-S Li-Cl B-H B-B B-C B-N B-O B-F B-Si B-P B-S B-Cl B-Br C-H C-C C-N C-O
    C-F C-Na C-Mg C-Al C-Si C-P C-S C-Cl C-As C-Se C-Br C-I N-H N-N N-O N-F N-Si N-P N-S N-Cl N-Br O-H O-O O-Mg
    O-Na O-Al O-Si O-P O-K F-P F-S Al-H Al-Cl Si-H Si-Si Si-Cl P-H P-P As-H As-As
    """
)

NEIGHBOURS = _words(
    """
    C(~Br)(~C) C(~Br)(~C)(~C) C(~Br)(~H) C(~Br)(:C) C(~Br)(:N) C(~C)(~C) C(~C)(~C)(~C) C(~C)(~C)(~C)(~C)
    C(~C)(~C)(~C)(~H) C(~C)(~C)(~C)(~N) C(~C)(~C)(~C)(~O) C(~C)(~C)(~H)(~N) C(~C)(~C)(~H)(~O) C(~C)(~C)(~N)
    C(~C)(~C)(~O) C(~C)(~Cl) C(~C)(~Cl)(~H) C(~C)(~H) C(~C)(~H)(~N) C(~C)(~H)(~O) C(~C)(~H)(~O)(~O)
    C(~C)(~H)(~P) C(~C)(~H)(~S) C(~C)(~I) C(~C)(~N) C(~C)(~O) C(~C)(~S) C(~C)(~Si) C(~C)(:C) C(~C)(:C)(:C)
    C(~C)(:C)(:N) C(~C)(:N) C(~C)(:N)(:N) C(~Cl)(~Cl) C(~Cl)(~H) C(~Cl)(:C) C(~F)(~F) C(~F)(:C) C(~H)(~N)
    C(~H)(~O) C(~H)(~O)(~O) C(~H)(~S) C(~H)(~Si) C(~H)(:C) C(~H)(:C)(:C) C(~H)(:C)(:N) C(~H)(:N)
    C(~H)(~H)(~H) C(~N)(~N) C(~N)(:C) C(~N)(:C)(:C) C(~N)(:C)(:N) C(~N)(:N) C(~O)(~O) C(~O)(:C)
    C(~O)(:C)(:C) C(~S)(:C) C(:C)(:C) C(:C)(:C)(:C) C(:C)(:C)(:N) C(:C)(:N) C(:C)(:N)(:N) C(:N)(:N)
    N(~C)(~C) N(~C)(~C)(~C) N(~C)(~C)(~H) N(~C)(~H) N(~C)(~H)(~N) N(~C)(~O) N(~C)(:C) N(~C)(:C)(:C)
    N(~H)(~N) N(~H)(:C) N(~H)(:C)(:C) N(~O)(~O) N(~O)(:O) N(:C)(:C) N(:C)(:C)(:C) O(~C)(~C) O(~C)(~H)
    O(~C)(~P) O(~H)(~S) O(:C)(:C) P(~C)(~C) P(~O)(~O) S(~C)(~C) S(~C)(~H) S(~C)(~O) Si(~C)(~C)
    """
)

DETAILED = _words(
    """
    C=C C#C C=N C#N C=O C=S N=N N=O N=P P=O P=P C(#C)(-C) C(#C)(-H) C(#N)(-C) C(-C)(-C)(=C) C(-C)(-C)(=N)
    C(-C)(-C)(=O) C(-C)(-Cl)(=O) C(-C)(-H)(=C) C(-C)(-H)(=N) C(-C)(-H)(=O) C(-C)(-N)(=C) C(-C)(-N)(=N)
    C(-C)(-N)(=O) C(-C)(-O)(=O) C(-C)(=C) C(-C)(=N) C(-C)(=O) C(-Cl)(=O) C(-H)(-N)(=C) C(-H)(=C) C(-H)(=N)
    C(-H)(=O) C(-N)(=C) C(-N)(=N) C(-N)(=O) C(-O)(=O) N(-C)(=C) N(-C)(=O) N(-O)(=O) P(-O)(=O) S(-C)(=O)
    S(-O)(=O) S(=O)(=O)
    """
)

SIMPLE = _words(
    """
    C-C-C#C O-C-C=N O-C-C=O N:C-S-[#1] N-C-C=C O=S-C-C N#C-C=C C=N-N-C O=S-C-N S-S-C:C C:C-C=C S:C:C:C C:N:C-C
    S-C:N:C S:C:C:N S-C=N-C C-O-C=C N-N-C:C S-C=N-[#1] S-C-S-C C:S:C-C O-S-C:C C:N-C:C N-S-C:C N-C:N:C N:C:C:N
    N-C:N:N N-C=N-C N-C=N-[#1] N-C-S-C C-C-C=C C-N:C-[#1] N-C:O:C O=C-C:C O=C-C:N C-N-C:C N:N-C-[#1] O-C:C:N
    O-C=C-C N-C:C:N C-S-C:C Cl-C:C-C N-C=C-[#1] Cl-C:C-[#1] N:C:N-C Cl-C:C-O C-C:N:C C-C-S-C S=C-N-C Br-C:C-C
    [#1]-N-N-[#1] S=C-N-[#1] C-[As]-O-[#1] S:C:C-[#1] O-N-C-C N-N-C-C [#1]-C=C-[#1] N-N-C-N O=C-N-N N=C-N-C
    C=C-C:C C:N-C-[#1] C-N-N-[#1] N:C:C-C C-C=C-C [As]-C:C-[#1] Cl-C:C-Cl C:C:N-[#1] [#1]-N-C-[#1] Cl-C-C-Cl
    N:C-C:C S-C:C-C S-C:C-[#1] S-C:C-N S-C:C-O O=C-C-C O=C-C-N O=C-C-O N=C-C-C N=C-C-[#1] C-N-C-[#1] O-C:C-C
    O-C:C-[#1] O-C:C-N O-C:C-O N-C:C-C N-C:C-[#1] N-C:C-N O-C-C:C N-C-C:C Cl-C-C-C Cl-C-C-O C:C-C:C O=C-C=C
    Br-C-C-C N=C-C=C C=C-C-C N:C-O-[#1] O=N-C:C O-C-N-[#1] N-C-N-C Cl-C-C=O Br-C-C=O O-C-O-C C=C-C=C C:C-O-C
    O-C-C-N O-C-C-O N#C-C-C N-C-C-N C:C-C-C [#1]-C-O-[#1] N:C:N:C O-C-C=C O-C-C:C-C O-C-C:C-O N=C-C:C-[#1]
    C:C-N-C:C C-C:C-C:C O=C-C-C-C O=C-C-C-N O=C-C-C-O C-C-C-C-C Cl-C:C-O-C C:C-C=C-C C-C:C-N-C C-S-C-C-C
    N-C:C-O-[#1] O=C-C-C=O C-C:C-O-C C-C:C-O-[#1] Cl-C-C-C-C N-C-C-C-C N-C-C-C-N C-O-C-C=C C:C-C-C-C N=C-N-C-C
    O=C-C-C:C Cl-C:C:C-C [#1]-C-C=C-[#1] N-C:C:C-C N-C:C:C-N O=C-C-N-C C-C:C:C-C C-O-C-C:C O=C-C-O-C O-C:C-C-C
    N-C-C-C:C C-C-C-C:C Cl-C-C-N-C C-O-C-O-C N-C-C-N-C N-C-O-C-C C-N-C-C-C C-C-O-C-C N-C-C-O-C C:C:N:N:C
    C-C-C-O-[#1] C:C-C-C:C O-C-C=C-C C:C-O-C-C N-C:C:C:N O=C-O-C:C O=C-C:C-C O=C-C:C-N O=C-C:C-O C-O-C:C-C
    O=[As]-C:C:C C-N-C-C:C S-C:C:C-N O-C:C-O-C O-C:C-O-[#1] C-C-O-C:C N-C-C:C-C C-C-C:C-C N-N-C-N-[#1]
    C-N-C-N-C O-C-C-C-C O-C-C-C-N O-C-C-C-O C=C-C-C-C O-C-C-C=C O-C-C-C=O [#1]-C-C-N-[#1] C-C=N-N-C O=C-N-C-C
    O=C-N-C-[#1] O=C-N-C-N O=N-C:C-N O=N-C:C-O O=C-N-C=O O-C:C:C-C O-C:C:C-N O-C:C:C-O N-C-N-C-C O-C-C-C:C
    C-C-N-C-C C-N-C:C-C C-C-S-C-C O-C-C-N-C C-C=C-C-C O-C-O-C-C O-C-C-O-C O-C-C-O-[#1] C-C=C-C=C N-C:C-C-C
    C=C-C-O-C C=C-C-O-[#1] C-C:C-C-C Cl-C:C-C=O Br-C:C:C-C O=C-C=C-C O=C-C=C-[#1] O=C-C=C-N N-C-N-C:C Br-C-C-C:C
    N#C-C-C-C C-C=C-C:C C-C-C=C-C C-C-C-C-C-C O-C-C-C-C-C O-C-C-C-C-O O-C-C-C-C-N N-C-C-C-C-C O=C-C-C-C-C
    O=C-C-C-C-N O=C-C-C-C-O O=C-C-C-C=O C-C-C-C-C-C-C O-C-C-C-C-C-C O-C-C-C-C-C-O O-C-C-C-C-C-N O=C-C-C-C-C-C
    O=C-C-C-C-C-O O=C-C-C-C-C=O O=C-C-C-C-C-N C-C-C-C-C-C-C-C C-C-C-C-C-C(C)-C O-C-C-C-C-C-C-C O-C-C-C-C-C(C)-C
    O-C-C-C-C-C-O-C O-C-C-C-C-C(O)-C O-C-C-C-C-C-N-C O-C-C-C-C-C(N)-C O=C-C-C-C-C-C-C O=C-C-C-C-C(O)-C
    O=C-C-C-C-C(=O)-C O=C-C-C-C-C(N)-C C-C(C)-C-C C-C(C)-C-C-C C-C-C(C)-C-C C-C(C)(C)-C-C C-C(C)-C(C)-C
    """
)

_RINGS = (
    "{}c1ccc({})cc1", "{}c1cc({})ccc1", "{}c1c({})cccc1",
    "{}C1CCC({})CC1", "{}C1CC({})CCC1", "{}C1C({})CCCC1",
    "{}C1CC({})CC1", "{}C1C({})CCC1",
)  # fmt: skip

COMPLEX = [
    ring.format(*pair)
    for ring in _RINGS
    for pair in combinations_with_replacement(("C", "O", "S", "N", "Cl", "Br"), 2)
]
COMPLEX[876 - 713] = (
    "NC1C(Cl)CC1"  # so in the specification, though every other key of its kind has five atoms
)
