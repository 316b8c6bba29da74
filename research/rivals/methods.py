"""The methods by name, each with what its paper publishes and the labels that it used for that."""

from __future__ import annotations

from typing import NamedTuple

from research.rivals.cells import fg_ccdb, ula
from research.rivals.classes import class_scaling, control, erm
from research.rivals.feature_space import leia, nsf
from research.rivals.groups import cross_mistakes, early_stages, gerne_strength, ppa_aggregation
from research.rivals.layers import early_readouts, gram_clusters
from research.rivals.mistakes import afr, jtt, self_disagreement
from research.rivals.protocol import Method
from research.rivals.twins import xrm
from research.rivals.views import dac, exmap

ERM, CONTROL, DEFAULT, CEILING = "erm", "control", "early_stages", "true groups (DFR)"


class Published(NamedTuple):
    """Worst-group accuracy of whole networks on Waterbirds and CelebA; `labels` fitted or chose them.

    Those of uLA and ExMap, and SELF's on CelebA, are from memory: the papers' full texts were not read. LEIA's
    and NSF's are quoted by others.
    """

    waterbirds: float | None
    celeba: float | None
    labels: str


class Rival(NamedTuple):
    """`has_views` if the method looks at saliency maps."""

    fit: Method
    published: Published
    has_views: bool = False


_NOT_READ = Published(None, None, "figures not read")
RIVALS = {
    ERM: Rival(erm, Published(None, None, "none: the service's first training")),
    CONTROL: Rival(control, Published(None, None, "this protocol's control")),
    "class_scaling": Rival(class_scaling, _NOT_READ),
    "jtt": Rival(jtt, Published(0.867, 0.811, "groups of validation")),
    "afr": Rival(afr, Published(0.904, 0.820, "groups of validation")),
    "self": Rival(self_disagreement, Published(0.930, 0.839, "groups of validation")),
    "ula": Rival(ula, Published(0.861, 0.865, "none")),
    "xrm": Rival(xrm, Published(0.881, 0.891, "none")),
    "fg_ccdb": Rival(fg_ccdb, Published(0.906, 0.892, "none")),
    "leia": Rival(leia, Published(0.907, None, "not read: which of its three settings")),
    "nsf": Rival(nsf, Published(0.911, 0.843, "classes of validation, to fit")),
    "early_readouts": Rival(early_readouts, _NOT_READ),
    "gram_clusters": Rival(gram_clusters, _NOT_READ),
    "gerne_strength": Rival(gerne_strength, _NOT_READ),
    "ppa_aggregation": Rival(ppa_aggregation, _NOT_READ),
    "dac": Rival(dac, Published(0.923, 0.819, "groups of validation"), has_views=True),
    "exmap": Rival(exmap, Published(0.925, 0.844, "none for fitting"), has_views=True),
    "cross_mistakes": Rival(cross_mistakes, Published(None, None, "ours")),
    DEFAULT: Rival(early_stages, Published(None, None, "ours, the default")),
}
CEILING_PUBLISHED = Published(0.929, 0.883, "groups of validation, also to fit")
