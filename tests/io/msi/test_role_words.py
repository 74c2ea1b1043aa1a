"""Words and numbers of descriptions and file names mean the right bands of a sensor."""

from __future__ import annotations

import pytest

from uavssr.io.msi.role_words import bands_meant, kind_of, read_stem, read_text, single_band
from uavssr.sensors import SENSORS


def roles_of(text: str, sensor: str) -> set[str]:
    camera = SENSORS[sensor]
    return {camera.roles[i] for i in bands_meant(read_text(text), camera) or ()}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Blue", "blue"),
        ("B", "blue"),
        ("band 1 - Blue-444", "blue"),
        ("Red edge", "rededge"),
        ("RedEdge", "rededge"),
        ("RED_EDGE", "rededge"),
        ("red-edge 717", "rededge"),
        ("RE", "rededge"),
        ("NIR", "nir"),
        ("Near-infrared", "nir"),
        ("near infra red (840)", "nir"),
        ("red-650", "red"),
        ("Green 531", "green"),
        ("Coastal Blue", "coastal"),
        ("LWIR", "thermal"),
        ("Panchro", "pan"),
        ("Alpha", "alpha"),
        ("Band 1", None),
        ("B1", None),
        ("B8A", None),
        ("", None),
        ("Reflectance", None),
        ("NDVI (NIR - Red)", None),
    ],
)
def test_text_names_a_colour(text: str, kind: str | None) -> None:
    assert read_text(text).kind == kind


@pytest.mark.parametrize(
    ("stem", "kind"),
    [
        ("result_Blue", "blue"),
        ("result_RedEdge", "rededge"),
        ("farm_transparent_reflectance_red edge", "rededge"),
        ("farm_transparent_reflectance_red", "red"),
        ("field_NIR", "nir"),
        ("greenhouse_G", "green"),
        ("2021_0450_field", None),
        ("red_farm_blue", None),
    ],
)
def test_file_name_names_a_colour(stem: str, kind: str | None) -> None:
    assert read_stem(stem).kind == kind
    assert read_stem(stem).nm is None


@pytest.mark.parametrize(
    ("text", "sensor", "roles"),
    [
        ("Blue-444", "rededge-mx-dual", {"coastal"}),
        ("Blue-475", "rededge-mx-dual", {"blue"}),
        ("Green 531", "rededge-mx-dual", {"green531"}),
        ("Red-650", "rededge-mx-dual", {"red650"}),
        ("Red edge 740", "rededge-mx-dual", {"rededge740"}),
        ("Red edge", "rededge-mx-dual", {"rededge705", "rededge", "rededge740"}),
        ("rededge705", "rededge-mx-dual", {"rededge705"}),
        ("Blue-475", "p4m", set()),
        ("Blue 450 nm", "p4m", {"blue"}),
        ("717.6 nm", "rededge3", {"rededge"}),
        ("B8A", "sentinel2", {"b8a"}),
        ("B02", "sentinel2", {"b2"}),
        ("B8A, narrow NIR", "sentinel2", {"b8a"}),
        ("Red", "sentinel2", {"b4"}),
        ("Red edge", "rgb", set()),
    ],
)
def test_text_means_these_bands_of_a_sensor(text: str, sensor: str, roles: set[str]) -> None:
    assert roles_of(text, sensor) == roles


@pytest.mark.parametrize("sensor", SENSORS)
def test_every_role_and_centre_means_its_own_band(sensor: str) -> None:
    camera = SENSORS[sensor]
    for i, band in enumerate(camera.bands):
        hint = read_text(band.role)
        assert single_band(bands_meant(hint, camera) or frozenset(), [hint], camera) == i
        assert bands_meant(read_text(f"{band.centre} nm"), camera) == {i}
        assert kind_of(band) in {"coastal", "blue", "green", "red", "rededge", "nir"}
