"""The vocabulary of the describer: ring systems, functional groups, linkers, bands and numbers in words.

Data, and the functions that turn a count or a ring system into English.
    RING_SYSTEMS        name -> SMILES of the bare ring system, carbonyls that belong to it included
    FUNCTIONAL_GROUPS   in order of precedence; see `FunctionalGroup`
    *_BANDS             (upper bound, excluded; word), last bound infinite
    name_ring_system    atoms, bonds, ring sizes  ->  (singular, plural, short)

Names are the trivial and the fusion names of IUPAC's recommendations (P-22 to P-25) as medicinal chemists
use them. A tautomer, a charge or the place of a hydrogen does not change a ring system's name here, since
the describer states them elsewhere or not at all; a saturated position does.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from math import inf

from rdkit import Chem

Bands = tuple[tuple[float, str], ...]

SIZE_BANDS: Bands = (
    (10, "very small"),
    (18, "small"),
    (27, "medium-sized"),
    (40, "large"),
    (inf, "very large"),
)
"""Heavy atoms. A quarter of drug-like libraries lies on either side of the middle band."""
LIPOPHILICITY_BANDS: Bands = (
    (0, "very low"),
    (1.5, "low"),
    (3, "moderate"),
    (4.5, "high"),
    (inf, "very high"),
)
"""Crippen's estimate of log P, rounded to six decimals so that the order of a sum cannot matter."""
POLARITY_BANDS: Bands = ((20, "very low"), (55, "low"), (85, "moderate"), (130, "high"), (inf, "very high"))
"""Topological polar surface area in square angstroms, nitrogen and oxygen only, rounded likewise."""
FLEXIBILITY_BANDS: Bands = (
    (1, "rigid"),
    (4, "fairly rigid"),
    (7, "moderately flexible"),
    (11, "flexible"),
    (inf, "very flexible"),
)
"""Single bonds outside rings between two non-terminal atoms, none of them beside a triple bond."""
SATURATION_BANDS: Bands = (
    (0.1, "highly unsaturated"),
    (0.3, "mostly unsaturated"),
    (0.5, "half-saturated"),
    (0.75, "mostly saturated"),
    (inf, "highly saturated"),
)
"""Fraction of carbons that are sp3, rounded likewise."""

# fmt: off
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

RING_SYSTEMS: dict[str, str] = {
    # carbocycles, one ring
    "cyclopropane": "C1CC1", "cyclobutane": "C1CCC1", "cyclopentane": "C1CCCC1", "cyclohexane": "C1CCCCC1",
    "cycloheptane": "C1CCCCCC1", "cyclooctane": "C1CCCCCCC1", "cyclopropene": "C1C=C1",
    "cyclobutene": "C1CC=C1", "cyclopentene": "C1CCC=C1", "cyclohexene": "C1CCCC=C1",
    "cycloheptene": "C1CCCCC=C1", "cyclopentadiene": "C1C=CC=C1", "benzene": "c1ccccc1",
    "cyclopentanone": "O=C1CCCC1", "cyclohexanone": "O=C1CCCCC1", "cyclohexenone": "O=C1CCCC=C1",
    "cyclopentenone": "O=C1CCC=C1", "cyclobutanone": "O=C1CCC1", "benzoquinone": "O=C1C=CC(=O)C=C1",
    "cyclohexanedione": "O=C1CCCC(=O)C1", "cycloheptatriene": "C1C=CC=CC=C1", "tropone": "O=c1cccccc1",
    # saturated heterocycles, one ring
    "aziridine": "C1CN1", "oxirane": "C1CO1", "thiirane": "C1CS1", "azetidine": "C1CNC1", "oxetane": "C1COC1",
    "thietane": "C1CSC1", "pyrrolidine": "C1CCNC1", "tetrahydrofuran": "C1CCOC1",
    "tetrahydrothiophene": "C1CCSC1", "imidazolidine": "C1CNCN1", "pyrazolidine": "C1CNNC1",
    "oxazolidine": "C1COCN1", "isoxazolidine": "C1CNOC1", "thiazolidine": "C1CSCN1", "dioxolane": "C1COCO1",
    "dithiolane": "C1CSCS1", "piperidine": "C1CCNCC1", "tetrahydropyran": "C1CCOCC1", "thiane": "C1CCSCC1",
    "piperazine": "C1CNCCN1", "morpholine": "C1COCCN1", "thiomorpholine": "C1CSCCN1", "dioxane": "C1COCCO1",
    "meta-dioxane": "C1COCOC1", "hexahydropyrimidine": "C1CNCNC1", "dithiane": "C1CSCSC1",
    "oxazinane": "C1CNCOC1", "hexahydrotriazine": "C1NCNCN1", "trioxane": "C1OCOCO1", "azepane": "C1CCCNCC1",
    "oxepane": "C1CCCOCC1", "diazepane": "C1CNCCNC1", "oxazepane": "C1CNCCOC1", "azocane": "C1CCCNCCC1",
    "beta-lactam": "O=C1CCN1", "pyrrolidinone": "O=C1CCCN1", "piperidinone": "O=C1CCCCN1",
    "caprolactam": "O=C1CCCCCN1", "piperazinone": "O=C1CNCCN1", "morpholinone": "O=C1COCCN1",
    "succinimide": "O=C1CCC(=O)N1", "glutarimide": "O=C1CCCC(=O)N1", "hydantoin": "O=C1CNC(=O)N1",
    "imidazolidinone": "O=C1NCCN1", "oxazolidinone": "O=C1NCCO1", "thiazolidinedione": "O=C1CSC(=O)N1",
    "rhodanine": "O=C1CSC(=S)N1", "thiazolidinone": "O=C1CSCN1", "diketopiperazine": "O=C1CNC(=O)CN1",
    "barbiturate": "O=C1CC(=O)NC(=O)N1", "dihydrouracil": "O=C1CCNC(=O)N1",
    "gamma-butyrolactone": "O=C1CCCO1", "delta-valerolactone": "O=C1CCCCO1", "maleimide": "O=C1C=CC(=O)N1",
    "piperidin-4-one": "O=C1CCNCC1", "tetrahydropyran-4-one": "O=C1CCOCC1", "sulfolane": "O=S1(=O)CCCC1",
    "thiomorpholine dioxide": "O=S1(=O)CCNCC1", "thiane dioxide": "O=S1(=O)CCCCC1",
    "gamma-sultam": "O=S1(=O)CCCN1",
    # partly unsaturated heterocycles, one ring
    "2-pyrroline": "C1CC=CN1", "3-pyrroline": "C1C=CCN1", "1-pyrroline": "C1CCC=N1",
    "imidazoline": "C1CN=CN1", "pyrazoline": "C1CC=NN1", "oxazoline": "C1COC=N1", "isoxazoline": "C1CON=C1",
    "thiazoline": "C1CSC=N1", "dihydrofuran": "C1CC=CO1", "2,5-dihydrofuran": "C1C=CCO1",
    "dihydropyran": "C1CC=COC1", "3,6-dihydropyran": "C1CC=CCO1", "1,2,3,6-tetrahydropyridine": "C1CC=CCN1",
    "1,2,3,4-tetrahydropyridine": "C1CC=CNC1", "1,4-dihydropyridine": "C1C=CNC=C1",
    "dihydropyrimidinone": "O=C1NC=CCN1", "pyrazolone": "O=C1CC=NN1", "butenolide": "O=C1C=CCO1",
    "dihydropyridazinone": "O=C1CCC=NN1", "dioxole": "C1OC=CO1",
    # aromatic heterocycles, one ring
    "pyrrole": "c1cc[nH]c1", "furan": "c1ccoc1", "thiophene": "c1ccsc1", "selenophene": "c1cc[se]c1",
    "imidazole": "c1c[nH]cn1", "pyrazole": "c1cn[nH]c1", "oxazole": "c1cocn1", "isoxazole": "c1cnoc1",
    "thiazole": "c1cscn1", "isothiazole": "c1cnsc1", "1,2,3-triazole": "c1c[nH]nn1",
    "1,2,4-triazole": "c1nc[nH]n1", "tetrazole": "c1nnn[nH]1", "1,2,4-oxadiazole": "c1ncon1",
    "1,3,4-oxadiazole": "c1nnco1", "furazan": "c1cnon1", "1,2,4-thiadiazole": "c1ncsn1",
    "1,3,4-thiadiazole": "c1nncs1", "1,2,3-thiadiazole": "c1csnn1", "1,2,5-thiadiazole": "c1cnsn1",
    "pyridine": "c1ccncc1", "pyrimidine": "c1cncnc1", "pyrazine": "c1cnccn1", "pyridazine": "c1ccnnc1",
    "1,2,4-triazine": "c1cnncn1", "1,3,5-triazine": "c1ncncn1", "1,2,3-triazine": "c1cnnnc1",
    "pyridin-2-one": "O=c1cccc[nH]1", "pyridin-4-one": "O=c1cc[nH]cc1", "pyran-2-one": "O=c1cccco1",
    "pyran-4-one": "O=c1ccocc1", "pyrimidin-4-one": "O=c1cc[nH]cn1", "pyrimidin-2-one": "O=c1nccc[nH]1",
    "uracil": "O=c1cc[nH]c(=O)[nH]1", "pyridazin-3-one": "O=c1cccn[nH]1", "pyrazin-2-one": "O=c1cncc[nH]1",
    "pyrazol-3-one": "O=c1cc[nH][nH]1", "imidazol-2-one": "O=c1[nH]cc[nH]1",
    "1,2,4-triazol-3-one": "O=c1nc[nH][nH]1", "1,3,4-oxadiazol-2-one": "O=c1[nH]nco1",
    "thiazol-2-one": "O=c1[nH]ccs1", "1,2,4-triazole-3-thione": "S=c1nc[nH][nH]1",
    # benzo-fused, five-membered partner
    "indole": "c1ccc2[nH]ccc2c1", "isoindole": "c1ccc2c[nH]cc2c1", "indoline": "c1ccc2c(c1)CCN2",
    "isoindoline": "c1ccc2c(c1)CNC2", "oxindole": "O=C1Cc2ccccc2N1", "isoindolinone": "O=C1NCc2ccccc21",
    "phthalimide": "O=C1NC(=O)c2ccccc21", "isatin": "O=C1Nc2ccccc2C1=O", "indazole": "c1ccc2[nH]ncc2c1",
    "benzimidazole": "c1ccc2[nH]cnc2c1", "benzimidazolone": "O=c1[nH]c2ccccc2[nH]1",
    "benzotriazole": "c1ccc2[nH]nnc2c1", "benzofuran": "c1ccc2occc2c1",
    "dihydrobenzofuran": "c1ccc2c(c1)CCO2", "phthalan": "c1ccc2c(c1)COC2", "phthalide": "O=C1OCc2ccccc21",
    "benzofuranone": "O=C1COc2ccccc21", "benzothiophene": "c1ccc2sccc2c1", "benzoxazole": "c1ccc2ocnc2c1",
    "benzoxazolone": "O=c1[nH]c2ccccc2o1", "benzisoxazole": "c1ccc2oncc2c1", "benzothiazole": "c1ccc2scnc2c1",
    "benzothiazolone": "O=c1[nH]c2ccccc2s1", "benzisothiazole": "c1ccc2sncc2c1",
    "benzothiadiazole": "c1ccc2nsnc2c1", "benzofurazan": "c1ccc2nonc2c1",
    "saccharin": "O=C1NS(=O)(=O)c2ccccc21", "benzodioxole": "c1ccc2c(c1)OCO2", "indane": "c1ccc2c(c1)CCC2",
    "indanone": "O=C1CCc2ccccc21", "indene": "c1ccc2c(c1)C=CC2",
    # benzo-fused, six- and seven-membered partner
    "naphthalene": "c1ccc2ccccc2c1", "tetralin": "c1ccc2c(c1)CCCC2", "tetralone": "O=C1CCCc2ccccc21",
    "naphthoquinone": "O=C1C=CC(=O)c2ccccc21", "decalin": "C1CCC2CCCCC2C1", "quinoline": "c1ccc2ncccc2c1",
    "isoquinoline": "c1ccc2cnccc2c1", "tetrahydroquinoline": "c1ccc2c(c1)CCCN2",
    "tetrahydroisoquinoline": "c1ccc2c(c1)CCNC2", "quinolin-2-one": "O=c1ccc2ccccc2[nH]1",
    "quinolin-4-one": "O=c1cc[nH]c2ccccc12", "isoquinolin-1-one": "O=c1[nH]ccc2ccccc12",
    "dihydroquinolinone": "O=C1CCc2ccccc2N1", "dihydroisoquinolinone": "O=C1NCCc2ccccc21",
    "quinazoline": "c1ccc2ncncc2c1", "quinazolin-4-one": "O=c1[nH]cnc2ccccc12",
    "quinazolinedione": "O=c1[nH]c(=O)c2ccccc2[nH]1", "quinoxaline": "c1ccc2nccnc2c1",
    "quinoxalin-2-one": "O=c1cnc2ccccc2[nH]1", "tetrahydroquinoxaline": "c1ccc2c(c1)NCCN2",
    "cinnoline": "c1ccc2nnccc2c1", "phthalazine": "c1ccc2cnncc2c1", "phthalazin-1-one": "O=c1[nH]ncc2ccccc12",
    "1,8-naphthyridine": "c1cnc2ncccc2c1", "1,5-naphthyridine": "c1cnc2cccnc2c1",
    "1,6-naphthyridine": "c1cnc2ccncc2c1", "pteridine": "c1cnc2ncncc2n1", "chromane": "c1ccc2c(c1)CCCO2",
    "isochromane": "c1ccc2c(c1)CCOC2", "chromene": "c1ccc2c(c1)C=CCO2", "chromanone": "O=C1CCOc2ccccc21",
    "coumarin": "O=c1ccc2ccccc2o1", "chromone": "O=c1ccoc2ccccc12", "dihydrocoumarin": "O=C1CCc2ccccc2O1",
    "benzodioxane": "c1ccc2c(c1)OCCO2", "dihydrobenzoxazine": "c1ccc2c(c1)NCCO2",
    "benzoxazinone": "O=C1COc2ccccc2N1", "dihydrobenzothiazine": "c1ccc2c(c1)NCCS2",
    "benzothiazinone": "O=C1CSc2ccccc2N1", "thiochromane": "c1ccc2c(c1)CCCS2",
    "tetrahydrobenzoxazepine": "c1ccc2c(c1)CNCCO2", "benzodioxepine": "c1ccc2c(c1)OCCCO2",
    "tetrahydrobenzazepine": "c1ccc2c(c1)CCCCN2", "benzodiazepinone": "O=C1CN=Cc2ccccc2N1",
    "benzosuberane": "c1ccc2c(c1)CCCCC2",
    # hetero-fused, two rings
    "purine": "c1ncc2[nH]cnc2n1", "hypoxanthine": "O=c1[nH]cnc2nc[nH]c12",
    "xanthine": "O=c1[nH]c(=O)c2[nH]cnc2[nH]1", "7-azaindole": "c1cnc2[nH]ccc2c1",
    "6-azaindole": "c1cc2cc[nH]c2cn1", "5-azaindole": "c1cc2[nH]ccc2cn1", "4-azaindole": "c1cnc2cc[nH]c2c1",
    "indolizine": "c1ccn2cccc2c1", "imidazo[1,2-a]pyridine": "c1ccn2ccnc2c1",
    "imidazo[4,5-b]pyridine": "c1cnc2[nH]cnc2c1", "imidazo[1,5-a]pyridine": "c1ccn2cncc2c1",
    "pyrazolo[1,5-a]pyridine": "c1ccn2nccc2c1", "pyrazolo[3,4-b]pyridine": "c1cnc2[nH]ncc2c1",
    "pyrazolo[1,5-a]pyrimidine": "c1cnc2ccnn2c1", "pyrazolo[3,4-d]pyrimidine": "c1ncc2cn[nH]c2n1",
    "imidazo[1,2-a]pyrimidine": "c1cnc2nccn2c1", "imidazo[1,2-b]pyridazine": "c1cnn2ccnc2c1",
    "imidazo[1,2-a]pyrazine": "c1cn2ccnc2cn1", "[1,2,4]triazolo[4,3-a]pyridine": "c1ccn2cnnc2c1",
    "[1,2,4]triazolo[1,5-a]pyridine": "c1ccn2ncnc2c1", "[1,2,4]triazolo[1,5-a]pyrimidine": "c1cnc2ncnn2c1",
    "[1,2,4]triazolo[4,3-b]pyridazine": "c1cnn2cnnc2c1",
    "[1,2,4]triazolo[3,4-b][1,3,4]thiadiazole": "c1nn2cnnc2s1",
    "pyrrolo[2,3-d]pyrimidine": "c1ncc2cc[nH]c2n1", "thieno[2,3-d]pyrimidine": "c1ncc2ccsc2n1",
    "thieno[3,2-d]pyrimidine": "c1ncc2sccc2n1", "thieno[2,3-d]pyrimidin-4-one": "O=c1[nH]cnc2sccc12",
    "thieno[2,3-b]pyridine": "c1cnc2sccc2c1", "thieno[3,2-c]pyridine": "c1cc2sccc2cn1",
    "thieno[3,2-b]thiophene": "c1cc2sccc2s1", "tetrahydrothieno[3,2-c]pyridine": "c1cc2c(s1)CCNC2",
    "tetrahydrobenzothiophene": "c1cc2c(s1)CCCC2", "dihydrocyclopenta[b]thiophene": "c1cc2c(s1)CCC2",
    "imidazo[2,1-b]thiazole": "c1cn2ccsc2n1", "thiazolo[5,4-b]pyridine": "c1cnc2scnc2c1",
    "furo[3,2-b]pyridine": "c1cnc2ccoc2c1", "oxazolo[5,4-b]pyridine": "c1cnc2ocnc2c1",
    "pyrido[2,3-d]pyrimidine": "c1cnc2ncncc2c1", "pyrido[1,2-a]pyrimidin-4-one": "O=c1ccnc2ccccn12",
    "tetrahydroindazole": "c1n[nH]c2c1CCCC2", "tetrahydropyrazolo[1,5-a]pyridine": "c1cc2n(n1)CCCC2",
    "tetrahydrocyclopenta[c]pyrazole": "c1n[nH]c2c1CCC2",
    "tetrahydroimidazo[1,2-a]pyridine": "c1cn2c(n1)CCCC2", "pyrrolizidine": "C1CC2CCCN2C1",
    "indolizidine": "C1CCN2CCCC2C1", "quinolizidine": "C1CCN2CCCCC2C1",
    "decahydroquinoline": "C1CCC2NCCCC2C1", "decahydroisoquinoline": "C1CCC2CNCCC2C1",
    "hydrindane": "C1CCC2CCCC2C1", "octahydroindole": "C1CCC2NCCC2C1", "octahydroisoindole": "C1CCC2CNCC2C1",
    "bicyclo[3.3.0]octane": "C1CC2CCCC2C1", "penam": "O=C1CC2SCCN12", "cephem": "O=C1CC2SCC=CN12",
    "octahydropyrrolo[1,2-a]pyrazine": "C1CC2CNCCN2C1", "octahydropyrrolo[3,4-c]pyrrole": "C1NCC2CNCC12",
    "3-azabicyclo[3.1.0]hexane": "C1NCC2CC12",
    # three rings and more
    "carbazole": "c1ccc2c(c1)[nH]c1ccccc12", "tetrahydrocarbazole": "c1ccc2c(c1)[nH]c1c2CCCC1",
    "beta-carboline": "c1ccc2c(c1)[nH]c1cnccc12", "tetrahydro-beta-carboline": "c1ccc2c(c1)[nH]c1c2CCNC1",
    "tetrahydro-gamma-carboline": "c1ccc2c(c1)[nH]c1c2CNCC1", "dibenzofuran": "c1ccc2c(c1)oc1ccccc12",
    "dibenzothiophene": "c1ccc2c(c1)sc1ccccc12", "fluorene": "c1ccc2c(c1)Cc1ccccc1-2",
    "fluorenone": "O=C1c2ccccc2-c2ccccc21", "anthracene": "c1ccc2cc3ccccc3cc2c1",
    "phenanthrene": "c1ccc2c(c1)ccc1ccccc12", "pyrene": "c1cc2ccc3cccc4ccc(c1)c2c34",
    "chrysene": "c1ccc2c(c1)ccc1c3ccccc3ccc21", "acenaphthene": "c1cc2c3c(cccc3c1)CC2",
    "biphenylene": "c1ccc2c(c1)-c1ccccc1-2", "anthraquinone": "O=C1c2ccccc2C(=O)c2ccccc21",
    "acridine": "c1ccc2nc3ccccc3cc2c1", "acridone": "O=c1c2ccccc2[nH]c2ccccc12",
    "xanthene": "c1ccc2c(c1)Cc1ccccc1O2", "xanthone": "O=c1c2ccccc2oc2ccccc12",
    "thioxanthone": "O=c1c2ccccc2sc2ccccc12", "phenothiazine": "c1ccc2c(c1)Nc1ccccc1S2",
    "phenoxazine": "c1ccc2c(c1)Nc1ccccc1O2", "phenazine": "c1ccc2nc3ccccc3nc2c1",
    "dibenzazepine": "c1ccc2c(c1)C=Cc1ccccc1N2", "iminodibenzyl": "c1ccc2c(c1)CCc1ccccc1N2",
    "dibenzosuberane": "c1ccc2c(c1)CCc1ccccc1C2", "dibenzosuberene": "c1ccc2c(c1)C=Cc1ccccc1C2",
    "dibenzodiazepine": "c1ccc2c(c1)C=Nc1ccccc1N2", "pyrido[1,2-a]benzimidazole": "c1ccc2c(c1)nc1ccccn12",
    "naphthalimide": "O=C1NC(=O)c2cccc3cccc1c23", "gonane": "C1CCC2C(C1)CCC1C3CCCC3CCC21",
    "gon-4-en-3-one nucleus": "O=C1C=C2CCC3C4CCCC4CCC3C2CC1",
    "estratriene nucleus": "c1ccc2c(c1)CCC1C3CCCC3CCC21",
    "tetrahydrobenzothieno[2,3-d]pyrimidine": "c1ncc2c3c(sc2n1)CCCC3",
    # bridged
    "4,5-epoxymorphinan": "c1ccc2c3c1OC1CCCC4C(NCCC413)C2",
    "norbornane": "C1CC2CCC1C2", "norbornene": "C1CC2C=CC1C2", "bicyclo[2.2.2]octane": "C1CC2CCC1CC2",
    "bicyclo[1.1.1]pentane": "C1C2CC1C2", "bicyclo[3.1.1]heptane": "C1CC2CC(C1)C2",
    "adamantane": "C1C2CC3CC1CC(C2)C3", "cubane": "C12C3C4C1C1C2C3C41", "quinuclidine": "C1CN2CCC1CC2",
    "tropane": "C1CC2CCC(C1)N2", "7-azanorbornane": "C1CC2CCC1N2", "7-oxanorbornane": "C1CC2CCC1O2",
    "granatane": "C1CC2CCCC(C1)N2", "hexamethylenetetramine": "C1N2CN3CN1CN(C2)C3",
    "morphinan": "c1ccc2c(c1)CC1NCCC23CCCCC13", "1,4-diazabicyclo[2.2.2]octane": "C1CN2CCN1CC2",
    "3-azabicyclo[3.2.1]octane": "C1CC2CNCC1C2", "3,8-diazabicyclo[3.2.1]octane": "C1CC2CNCC1N2",
}

LINKERS: dict[tuple[str, ...], str] = {
    ("C",): "a one-carbon bridge", ("O",): "an oxygen bridge", ("N",): "a nitrogen bridge",
    ("S",): "a sulfur bridge", ("CO",): "a carbonyl", ("SO2",): "a sulfonyl", ("SO",): "a sulfinyl",
    ("CS",): "a thiocarbonyl", ("C", "C"): "a two-carbon bridge", ("CO", "N"): "an amide",
    ("N", "SO2"): "a sulfonamide", ("CO", "O"): "an ester", ("C", "O"): "an oxymethylene bridge",
    ("C", "N"): "an aminomethylene bridge", ("C", "S"): "a thiomethylene bridge",
    ("C", "CO"): "a methylene carbonyl", ("C", "SO2"): "a methylene sulfonyl",
    ("N", "N"): "a dinitrogen bridge", ("C", "CO", "N"): "an amide with a carbonyl-side carbon",
    ("C", "N", "CO"): "an amide with a nitrogen-side carbon", ("N", "CO", "N"): "a urea",
    ("N", "CS", "N"): "a thiourea", ("N", "CO", "O"): "a carbamate",
    ("C", "N", "SO2"): "a sulfonamide with a nitrogen-side carbon",
    ("C", "SO2", "N"): "a sulfonamide with a sulfur-side carbon",
}
"""Atoms of an unbranched linker in order, with double-bonded oxygens or sulfur; either direction."""


@dataclass(frozen=True, slots=True)
class FunctionalGroup:
    """One functional group and what of the molecule it uses up.

    A group is counted once for each set of its first `identity` pattern atoms, none of which an earlier
    group has used; its first `uses` pattern atoms are then closed to later groups. So an ester's oxygen
    never becomes an ether, and the count does not depend on the order of the atoms.
    """

    name: str
    pattern: str
    uses: int = 1
    identity: int = 1
    plural: str = ""

    def counted(self, count: int) -> str:
        return counted(count, self.name, self.plural)


_G = FunctionalGroup
FUNCTIONAL_GROUPS: tuple[FunctionalGroup, ...] = (
    # carbon(IV): most oxidised first
    _G("isocyanate", "[CX2](=[OX1])=[NX2]", 3),
    _G("isothiocyanate", "[CX2](=[SX1])=[NX2]", 3),
    _G("carbodiimide", "[CX2](=[NX2])=[NX2]", 3),
    _G("guanidine", "[CX3](=[N;X2,X3+])([NX3])[NX3]", 4),
    _G("thiourea", "[CX3](=[SX1])([NX3])[NX3]", 4),
    _G("urea", "[CX3](=[OX1])([NX3])[NX3]", 4),
    _G("thiocarbamate", "[CX3](=[OX1,SX1])([NX3])[SX2]", 4),
    _G("carbamic acid", "[CX3](=[OX1])([NX3])[OX2H1]", 4),
    _G("carbamate", "[CX3](=[OX1])([NX3])[OX2H0]", 4),
    _G("carbonate ester", "[CX3](=[OX1])([OX2H0])[OX2H0]", 4),
    _G("isourea", "[CX3](=[NX2])([NX3])[OX2]", 4),
    _G("isothiourea", "[CX3](=[N;X2,X3+])([NX3])[SX2]", 4),
    # carbon(III)
    _G("anhydride", "[OX2]([CX3]=[OX1])[CX3]=[OX1]", 5),
    _G("acyl halide", "[CX3](=[OX1])[F,Cl,Br,I]", 3),
    _G("carbonic acid", "[CX3](=[OX1])([OX2H1])[OX2,OX1-]", 4),
    _G("carbonate", "[CX3](=[OX1])([OX1-])[OX2,OX1-]", 4),
    _G("carbamate anion", "[CX3](=[OX1])([OX1-])[NX3]", 4),
    _G("carboxylic acid", "[CX3](=[OX1])[OX2H1]", 3),
    _G("carboxylate", "[CX3](=[OX1])[OX1-]", 3),
    _G("hydroxamic acid", "[CX3](=[OX1])[NX3][OX2H1]", 4),
    _G("alkoxyamide", "[CX3](=[OX1])[NX3][OX2H0]", 4),
    _G("acylsulfonamide", "[NX3]([CX3]=[OX1])[SX4](=[OX1])=[OX1]", 6),
    _G("imide", "[NX3]([CX3]=[OX1])[CX3]=[OX1]", 5),
    _G("acylhydrazone", "[CX3](=[OX1])[NX3][NX2]=[CX3]", 5),
    _G("acyl hydrazide", "[CX3](=[OX1])[NX3][NX3]", 4),
    _G("lactam", "[CX3](=[OX1])@[NX3]", 3),
    _G("primary amide", "[CX3](=[OX1])[NX3H2]", 3),
    _G("secondary amide", "[CX3](=[OX1])[NX3H1]", 3),
    _G("tertiary amide", "[CX3](=[OX1])[NX3H0]", 3),
    _G("thioamide", "[CX3](=[SX1])[NX3]", 3),
    _G("thioester", "[CX3](=[OX1])[SX2]", 3),
    _G("lactone", "[CX3](=[OX1])@[OX2H0]", 3),
    _G("ester", "[CX3](=[OX1])[OX2H0][#6]", 3),
    _G("amidoxime", "[CX3](=[NX2][OX2])[NX3]", 4),
    _G("amidrazone", "[CX3](=[NX2][NX3])[NX3]", 4),
    _G("amidine", "[CX3](=[N;X2,X3+])[NX3]", 3),
    _G("imidate", "[CX3](=[NX2])[OX2H0]", 3),
    _G("thiocyanate", "[CX2](#[NX1])[SX2]", 3),
    _G("cyanamide", "[CX2](#[NX1])[NX3]", 3), _G("nitrile", "[CX2]#[NX1]", 2),
    _G("isocyanide", "[NX2+]#[CX1-]", 2),
    # carbon(II)
    _G("aldehyde", "[CX3;H1,H2]=[OX1]", 2), _G("ketone", "[CX3](=[OX1])([#6])[#6]", 2),
    _G("thioketone", "[CX3](=[SX1])([#6])[#6]", 2),
    _G("oxime ether", "[CX3]=[NX2][OX2H0]", 3),
    _G("oxime", "[CX3]=[NX2][OX2H1]", 3),
    _G("hydrazone", "[CX3]=[NX2][NX3]", 3),
    _G("azine", "[NX2](=[CX3])[NX2]=[CX3]", 4, 3),
    _G("diazo group", "[CX3]=[NX2+]=[NX1-]", 3), _G("nitrone", "[CX3]=[NX3+][OX1-]", 3),
    _G("imine", "[CX3]=[NX2]", 2), _G("iminium", "[CX3]=[NX3+]", 2),
    _G("aromatic ring carbonyl", "[OX1]=c"),
    _G("aromatic ring thiocarbonyl", "[SX1]=c"),
    # nitrogen with oxygen or nitrogen
    _G("nitrate ester", "[N;X3](=[OX1])(~[OX1])[OX2H0]", 4),
    _G("nitro group", "[N;X3](=[OX1])[OX1-]", 3),
    _G("nitroso group", "[NX2]=[OX1]", 2), _G("azide", "[NX2]=[NX2+]=[NX1-]", 3),
    _G("azo group", "[NX2]=[NX2]", 2, 2), _G("amine oxide", "[NX4+][OX1-]", 2),
    _G("aromatic N-oxide", "[n+][OX1-]", 2), _G("hydroxylamine", "[NX3][OX2]", 2),
    # sulfur
    _G("sulfonyl halide", "[SX4](=[OX1])(=[OX1])[F,Cl,Br,I]", 4),
    _G("sulfonic acid", "[SX4](=[OX1])(=[OX1])([#6])[OX2H1]", 5),
    _G("sulfonate", "[SX4](=[OX1])(=[OX1])([#6])[OX1-]", 5),
    _G("sulfonate ester", "[SX4](=[OX1])(=[OX1])([#6])[OX2H0]", 5),
    _G("sulfamide", "[SX4](=[OX1])(=[OX1])([#7])[#7]", 5),
    _G("primary sulfonamide", "[SX4](=[OX1])(=[OX1])[NX3H2]", 4),
    _G("secondary sulfonamide", "[SX4](=[OX1])(=[OX1])[NX3H1]", 4),
    _G("tertiary sulfonamide", "[SX4](=[OX1])(=[OX1])[NX3H0]", 4),
    _G("sulfonamide anion", "[SX4](=[OX1])(=[OX1])[NX2-]", 4),
    _G("sulfone", "[SX4](=[OX1])(=[OX1])([#6])[#6]", 3),
    _G("sulfoxide", "[SX3](~[OX1])([#6])[#6]", 2), _G("disulfide", "[SX2][SX2]", 2, 2),
    _G("thiol", "[SX2H1][#6]"), _G("thiolate", "[SX1-][#6]"),
    _G("thioether", "[SX2]([#6])[#6]"),
    # phosphorus, boron, silicon
    _G("phosphate", "[PX4](=[OX1])([#8])([#8])[#8]", 5),
    _G("phosphonate", "[PX4](=[OX1])([#8])([#8])[#6]", 4),
    _G("thiophosphate", "[PX4](=[SX1])([#8,#16])[#8,#16]", 4),
    _G("phosphoramide", "[PX4](=[OX1])[NX3]", 3),
    _G("phosphine oxide", "[PX4](=[OX1])([#6])([#6])[#6]", 2),
    _G("phosphine", "[PX3]([#6])([#6])[#6]"), _G("phosphonium", "[PX4+]([#6])([#6])([#6])[#6]"),
    _G("boronic acid", "[BX3]([OX2H1])([OX2H1])[#6]", 3),
    _G("boronate ester", "[BX3]([OX2H0])([OX2H0])[#6]", 3),
    _G("silyl ether", "[OX2]([Si])[#6]"), _G("silane", "[SiX4]([#6])([#6])([#6])[#6]"),
    # oxygen with sp3 or aromatic carbon
    _G("peroxide", "[OX2][OX2]", 2, 2), _G("epoxide", "[OX2r3]1[CX4][CX4]1"),
    _G("orthoester", "[CX4]([OX2H0])([OX2H0])[OX2H0]", 4, 4),
    _G("hemiacetal", "[CX4]([OX2H1])[OX2H0]", 3, 3),
    _G("acetal", "[CX4]([OX2H0])[OX2H0]", 3, 3),
    _G("primary alcohol", "[OX2H1][CX4;H2,H3]"), _G("secondary alcohol", "[OX2H1][CX4H1]"),
    _G("tertiary alcohol", "[OX2H1][CX4H0]"), _G("phenolic hydroxyl", "[OX2H1]c"),
    _G("enol", "[OX2H1][CX3]=[CX3]"), _G("phenolate", "[OX1-]c"),
    _G("alkoxide", "[OX1-][CX4]"), _G("aryl methoxy group", "[OX2]([CH3])c", 2),
    _G("alkyl methoxy group", "[OX2]([CH3])[CX4]", 2),
    _G("ring ether", "[OX2R]([CX4,c])[CX4,c]"), _G("diaryl ether", "[OX2](c)c"),
    _G("alkyl aryl ether", "[OX2](c)[CX4]"), _G("dialkyl ether", "[OX2]([CX4])[CX4]"),
    _G("enol ether", "[OX2H0]([CX3]=[CX3])[#6]"),
    # nitrogen with carbon only
    _G("hydrazine", "[NX3][NX3]", 2, 2),
    _G("quaternary ammonium", "[NX4+H0]([#6])([#6])([#6])[#6]"),
    _G("protonated tertiary amine", "[NX4+H1]([#6])([#6])[#6]"),
    _G("protonated secondary amine", "[NX4+H2]([#6])[#6]"),
    _G("protonated primary amine", "[NX4+H3][#6]"), _G("primary aryl amine", "[NX3H2]c"),
    _G("secondary aryl amine", "[NX3H1](c)[CX4,c]"),
    _G("tertiary aryl amine", "[NX3H0](c)([CX4,c])[CX4,c]"),
    _G("primary amine", "[NX3H2][CX4]"),
    _G("secondary amine", "[NX3H1]([CX4])[CX4]"),
    _G("tertiary amine", "[NX3H0]([CX4])([CX4])[CX4]"),
    _G("enamine", "[NX3]([CX3]=[CX3])[#6,#1]"),
    # halogens
    _G("trifluoromethoxy group", "[CX4](F)(F)(F)[OX2]", 4),
    _G("trifluoromethyl group", "[CX4](F)(F)F", 4),
    _G("difluoromethyl group", "[CX4H1](F)F", 3),
    _G("trichloromethyl group", "[CX4](Cl)(Cl)Cl", 4), _G("aryl fluoride", "Fc"),
    _G("alkyl fluoride", "F[CX4]"), _G("aryl chloride", "Clc"),
    _G("alkyl chloride", "Cl[CX4]"), _G("vinyl chloride", "Cl[CX3]=[CX3]"),
    _G("aryl bromide", "Brc"), _G("alkyl bromide", "Br[CX4]"),
    _G("aryl iodide", "Ic"), _G("alkyl iodide", "I[CX4]"), _G("fluoride ion", "[FX0-]"),
    _G("chloride ion", "[ClX0-]"), _G("bromide ion", "[BrX0-]"),
    _G("iodide ion", "[IX0-]"),
    # carbon
    _G("alkyne", "[CX2]#[CX2]", 2, 2), _G("alkene", "[CX3]=[CX3]", 2, 2),
    _G("tert-butyl group", "[CX4H0]([CH3])([CH3])([CH3])*", 4),
    _G("isopropyl group", "[CX4H1]([CH3])([CH3])*", 3),
    _G("ethyl group", "[CX4H2]([CH3])[!C,R]", 2),
    _G("aromatic-ring methyl group", "[CH3]a"),
    _G("aliphatic-ring methyl group", "[CH3][A;R]"),
    _G("N-methyl group", "[CH3][#7]"),
)
# fmt: on


def in_words(number: int) -> str:
    """A whole number below a thousand in English words; beyond, its magnitude. Text holds no digits."""
    if number == 0:
        return "no"  # as in `no donors`
    if number < 20:
        return ONES[number]
    if number < 100:
        ten, one = divmod(number, 10)
        return TENS[ten] + (f"-{ONES[one]}" if one else "")
    if number < 1000:
        hundred, rest = divmod(number, 100)
        return f"{ONES[hundred]} hundred" + (f" and {in_words(rest)}" if rest else "")
    return "more than nine hundred"


@lru_cache(maxsize=1 << 14)
def counted(count: int, name: str, plural: str = "") -> str:
    """`one ester`, `two esters`."""
    return f"{in_words(count)} {name if count == 1 else plural or name + 's'}"


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    parts = list(parts)
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def element(number: int) -> str:
    """`nitrogen`; SMILES' wildcard, which is no element, is an `unspecified atom`."""
    return Chem.GetPeriodicTable().GetElementName(number).lower() if number else "unspecified atom"


def symbol_of(number: int) -> str:
    """`N`."""
    return Chem.GetPeriodicTable().GetElementSymbol(number)


RingBonds = tuple[tuple[int, int, float], ...]
"""(atom, atom, order), atoms numbered within the system; 1.5 is aromatic."""


def _canonical(numbers: Iterable[int], bonds: RingBonds) -> str:
    """One string for one labelled graph: canonical SMILES of atoms without hydrogens or charges."""
    skeleton = Chem.RWMol()
    for number in numbers:
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        skeleton.AddAtom(atom)
    kinds = {1.0: Chem.BondType.SINGLE, 1.5: Chem.BondType.AROMATIC, 2.0: Chem.BondType.DOUBLE}
    for first, second, order in bonds:
        skeleton.AddBond(first, second, kinds.get(order, Chem.BondType.TRIPLE))
        if order == 1.5:
            skeleton.GetBondBetweenAtoms(first, second).SetIsAromatic(True)
            skeleton.GetAtomWithIdx(first).SetIsAromatic(True)
            skeleton.GetAtomWithIdx(second).SetIsAromatic(True)
    skeleton.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(skeleton)
    return Chem.MolToSmiles(skeleton)


@cache
def _named_ring_systems() -> dict[str, str]:
    """Canonical form of every table entry -> its name. Built on first use: parsing costs milliseconds."""
    named = {}
    for name, smiles in RING_SYSTEMS.items():
        entry = Chem.MolFromSmiles(smiles)
        numbers = [atom.GetAtomicNum() for atom in entry.GetAtoms()]
        bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondTypeAsDouble()) for b in entry.GetBonds()]
        named[_canonical(numbers, tuple(bonds))] = name
    return named


@lru_cache(maxsize=1 << 16)
def name_ring_system(
    numbers: tuple[int, ...], bonds: RingBonds, ring_atoms: int, ring_sizes: tuple[int, ...]
) -> tuple[str, str, str]:
    """Singular, plural and short. After the first `ring_atoms` atoms come those that hang on them by =.

    The key is the graph as it was met, not a canonical one: sound, since equal keys are equal graphs, and
    cheap; a common system takes a few dozen entries, one for each numbering.
    """
    named = _named_ring_systems()
    if name := named.get(_canonical(numbers, bonds)):
        return name, f"{name}s", name
    core = tuple(bond for bond in bonds if bond[0] < ring_atoms and bond[1] < ring_atoms)
    outer = _double_bonded(numbers, bonds, ring_atoms)
    if name := named.get(_canonical(numbers[:ring_atoms], core)):
        name = f"{'-'.join(outer)}-{name}"
        return name, f"{name}s", name
    singular, details = _structure(numbers[:ring_atoms], core, ring_sizes)
    if outer:
        details += f" bearing {listed(outer)}"
    return f"{singular}{details}", f"{singular}s{details}", singular


def _double_bonded(numbers: tuple[int, ...], bonds: RingBonds, ring_atoms: int) -> list[str]:
    """`dioxo`, `thioxo`: what hangs on the rings by double bonds, as prefixes."""
    prefixes = {8: "oxo", 16: "thioxo", 7: "imino", 6: "ylidene"}
    found: Counter[str] = Counter()
    for first, second, _ in bonds:
        ring, outer = min(first, second), max(first, second)
        if outer >= ring_atoms:
            found[prefixes.get(numbers[outer], "ylidene") if numbers[ring] == 6 else "oxidised"] += 1
    times = {1: "", 2: "di", 3: "tri", 4: "tetra"}
    return [
        name if name == "oxidised" else f"{times.get(count, 'poly')}{name}"
        for name, count in sorted(found.items())
    ]


def _structure(numbers: tuple[int, ...], bonds: RingBonds, ring_sizes: tuple[int, ...]) -> tuple[str, str]:
    """A system that has no entry: its unsaturation, how many rings of which size, its heteroatoms."""
    aromatic = {atom for first, second, order in bonds if order == 1.5 for atom in (first, second)}
    if len(aromatic) == len(numbers):
        nature = "aromatic"
    elif aromatic:
        nature = "partly aromatic"
    else:
        nature = "saturated" if all(order == 1 for _, _, order in bonds) else "unsaturated"
    hetero = Counter(element(number) for number in numbers if number != 6)
    details = f" with {listed(counted(n, name) for name, n in sorted(hetero.items()))}" if hetero else ""
    rings = len(bonds) - len(numbers) + 1
    if rings == 1:
        kind = "macrocycle" if len(numbers) >= 12 else "ring" if hetero else "carbocycle"
        return f"{in_words(len(numbers))}-membered {nature} {kind}", details
    joined = _joined(bonds, rings, ring_sizes)
    sizes = f" of ring sizes {listed(map(in_words, ring_sizes))}" if joined == "fused " else ""
    return f"{nature} {joined}{in_words(rings)}-ring system", f"{sizes}{details}"


def _joined(bonds: RingBonds, rings: int, ring_sizes: tuple[int, ...]) -> str:
    """`fused `, `bridged `, or nothing where the choice of smallest rings, which is not unique, would decide.

    r rings that hang together share at least r - 1 bonds; no more, and each shares one with the next. A
    fusion atom has a fusion atom beside it; one of degree three without such a neighbour is a bridgehead.
    """
    if len(ring_sizes) == rings and sum(ring_sizes) - len(bonds) == rings - 1:
        return "fused "
    degree = Counter(atom for first, second, _ in bonds for atom in (first, second))
    beside = {
        atom
        for first, second, _ in bonds
        if min(degree[first], degree[second]) > 2
        for atom in (first, second)
    }
    return "bridged " if any(count > 2 and atom not in beside for atom, count in degree.items()) else ""
