"""Published weights of torchvision's GoogLeNet and Inception hold auxiliary classifiers, and expect another
normalisation than ImageNet's. Slow to build, hence here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision.models as tv

from models.backbones.add_weights import add_weights
from models.backbones.build import build_network, weight_shapes
from models.backbones.weights import load_strictly, shapes_of


@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.library)])
def test_a_model_from_published_weights_is_the_same_when_it_is_loaded_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    side = 160
    published = tv.get_model(name, weights=None, aux_logits=True, transform_input=True, init_weights=False)
    torch.save(published.state_dict(), tmp_path / "published.pth")
    add_weights(name, tmp_path / "published.pth")
    whole = build_network(name, classes=1000, image_size=side, pretrained=True)
    images = torch.rand(2, 3, side, side)
    published.eval()
    with torch.no_grad():
        expected = published((images - whole.mean) / whole.std)
        torch.testing.assert_close(whole(images), expected, rtol=1e-4, atol=1e-5)
    state = whole.model.state_dict()
    assert shapes_of(state) == weight_shapes(name, classes=1000, image_size=side)
    again = build_network(name, classes=1000, image_size=side)
    load_strictly(again.model, state, what="the model")
    with torch.no_grad():
        assert torch.equal(again(images), whole(images))
