#!/bin/sh
# Make the pictures of the orchard in docs/ from examples/orchard.tif: sh scripts/make_pictures.sh
# (in the repository, with uavssr and its extra `plots` installed). The pages of reports have a script
# of their own, which needs a browser.
set -eu
docs=$(pwd)/docs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp examples/orchard.tif examples/orchard_plots.geojson "$work"
cd "$work"

uavssr reconstruct orchard.tif --out cube.tif --uncertainty se.tif --quality quality.tif \
    --quicklook "$docs/orchard.png" --overwrite
uavssr index orchard.tif NDVI CIre REIP --out maps.tif \
    --quicklook "$docs/orchard_indices.png" --overwrite
uavssr plots orchard.tif --zones orchard_plots.geojson --index NDVI --index CIre --index NDRE \
    --out plots.csv --quicklook "$docs/orchard_plots.png" --overwrite

# 256 colours and at most 1600 pixels: a fifth of the size
python - "$docs"/orchard.png "$docs"/orchard_indices.png "$docs"/orchard_plots.png <<'END'
import sys
from PIL import Image

for path in sys.argv[1:]:
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
END
